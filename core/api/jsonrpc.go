package api

import (
	"errors"
	"net/http"

	"github.com/calimero-go/core/core/api/jsonvalue"
	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// jsonRPC serves the only method, execute (http-api.md §2). Whatever is wrong after the request's version and id were
// read is answered with 200 and an error object.
//
// One status is ours: when too much is waiting, the answer is 503 with Retry-After. Nothing was done, the request may be
// sent again as it is. Its body is the InternalError object, so that clients that look at nothing but the body get what
// they know.
func (s *Server) jsonRPC(w http.ResponseWriter, r *http.Request) {
	body, fault := s.readJSON(w, r)
	if fault != nil {
		failText(w, fault.status, fault.text)
		return
	}
	request, err := schema.DecodeRPC(body)
	if err != nil {
		fault := decodeError(err)
		failText(w, fault.status, fault.text)
		return
	}
	status := http.StatusOK
	response := schema.RPCResponse{ID: request.ID}
	output, err := s.execute(r, request)
	if err != nil {
		if overloaded(err) {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "1")
		}
		response.Error = s.rpcError(r, err)
	} else {
		response.Result = &schema.RPCResult{Output: output}
	}
	text, err := response.Append(make([]byte, 0, len(output)+128))
	if err != nil {
		s.log.Error("answer cannot be written as JSON", "error", err)
		fail(w, http.StatusInternalServerError, "internal error")
		return
	}
	send(w, status, "application/json", text)
}

// rpcFault is an error with its object.
type rpcFault struct{ object *schema.RPCError }

func (e *rpcFault) Error() string { return e.object.Type }

// execute answers the normal form of the method's output, nil for none.
func (s *Server) execute(r *http.Request, request *schema.RPCRequest) ([]byte, error) {
	e, err := request.ReadExecution()
	if err != nil {
		return nil, &rpcFault{schema.ParseError(err.Error())}
	}
	if text := schema.Invalid(e.Validate()); text != "" {
		return nil, &rpcFault{schema.ParseError(text)}
	}
	res, err := s.deps.Contexts.Execute(r.Context(), contexts.ExecuteRequest{
		Context: e.ContextID, Method: e.Method, Args: e.Args, Executor: e.ExecutorPublicKey, Substitute: e.Substitute,
	})
	if err != nil {
		return nil, err
	}
	for i, line := range res.Logs {
		s.log.Debug("application log", "context", e.ContextID, "method", e.Method, "number", i, "text", line)
	}
	if res.Output == nil {
		return nil, nil
	}
	output, err := jsonvalue.Normalise(res.Output)
	if err != nil {
		return nil, &rpcFault{schema.SerdeError(err.Error())}
	}
	return output, nil
}

// overloaded tells of an error that says to try again: nothing was begun.
func overloaded(err error) bool {
	return errors.Is(err, errkind.Exhausted) && errkind.IsRetryable(err)
}

// rpcError is the error object of a call that failed.
func (s *Server) rpcError(r *http.Request, err error) *schema.RPCError {
	var fault *rpcFault
	var call *contexts.CallError
	switch {
	case errors.As(err, &fault):
		return fault.object
	case !errors.As(err, &call):
		call = &contexts.CallError{Type: contexts.Internal, Err: err}
	}
	e := &schema.RPCError{Type: string(call.Type)}
	switch call.Type {
	case contexts.FunctionCall:
		e.Data = call.Text
	case contexts.Unauthorized:
		e.Data = schema.UnauthorizedData{ContextID: call.Context, PublicKey: call.PublicKey}
	case contexts.ApplicationNotInstalled:
		e.Data = schema.ApplicationData{ApplicationID: call.Application}
	case contexts.AliasResolutionFailed:
		e.Data = schema.AliasData{Alias: call.Alias}
	case contexts.Internal:
		if r.Context().Err() == nil {
			s.log.Error("call failed inside the node", "error", err)
		}
	}
	return e
}
