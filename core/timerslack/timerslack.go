// Package timerslack lets the kernel put off the timers of the node's processes by up to a millisecond, so that it can
// wake a process once for several. The monitor thread of each Go process otherwise wakes every 70 µs while the process
// works now and then, which with several processes per call costs as much as the calls (docs/design/plugin-boundary.md).
// Deadlines of the node are longer by orders of magnitude. Where the system has no such setting, nothing happens.
package timerslack

import "time"

// Slack is the time by which a timer may be late.
const Slack = time.Millisecond
