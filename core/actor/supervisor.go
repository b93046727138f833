package actor

import (
	"log/slog"
	"time"

	"github.com/thejerf/suture/v4"
)

// NewSupervisor makes a supervisor that logs what happens to its services and waits for each at most stop when it ends
// (0 = 10 s). A service that keeps failing is started again after growing pauses, never given up.
func NewSupervisor(name string, log *slog.Logger, stop time.Duration) *suture.Supervisor {
	return suture.New(name, suture.Spec{
		EventHook: func(e suture.Event) { logEvent(log, e) },
		Timeout:   stop,
	})
}

func logEvent(log *slog.Logger, event suture.Event) {
	switch e := event.(type) {
	case suture.EventServicePanic:
		log.Error("service panicked", "supervisor", e.SupervisorName, "service", e.ServiceName, "panic", e.PanicMsg,
			"stack", e.Stacktrace, "restarting", e.Restarting)
	case suture.EventServiceTerminate:
		log.Error("service failed", "supervisor", e.SupervisorName, "service", e.ServiceName, "error", e.Err,
			"restarting", e.Restarting)
	case suture.EventStopTimeout:
		log.Error("service did not stop in time", "supervisor", e.SupervisorName, "service", e.ServiceName)
	case suture.EventBackoff:
		log.Warn("services fail too often, pausing", "supervisor", e.SupervisorName)
	case suture.EventResume:
		log.Info("starting services again", "supervisor", e.SupervisorName)
	default:
		log.Info(event.String())
	}
}
