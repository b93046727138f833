package contexts

import (
	"errors"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// CallErrorType says why a call failed; the API's error object is tagged with it (http-api.md §2.2).
type CallErrorType string

const (
	// FunctionCall: the guest failed or answered with an error; Text is what the caller sees (guest-abi.md §4.4).
	FunctionCall CallErrorType = "FunctionCallError"
	// ContextNotFound: no such context here.
	ContextNotFound CallErrorType = "ContextNotFound"
	// Unauthorized: the executor has no keys in the context on this node.
	Unauthorized CallErrorType = "Unauthorized"
	// Uninitialized: the context has no state yet.
	Uninitialized CallErrorType = "Uninitialized"
	// ApplicationNotInstalled: the context's application is not here.
	ApplicationNotInstalled CallErrorType = "ApplicationNotInstalled"
	// AliasResolutionFailed: an alias to substitute is unknown.
	AliasResolutionFailed CallErrorType = "AliasResolutionFailed"
	// Internal: the node failed; the cause is wrapped.
	Internal CallErrorType = "InternalError"
)

// CallError is why a call failed. The fields beside Type are set where the type names them.
type CallError struct {
	Type        CallErrorType
	Text        string
	Context     domain.ContextID
	PublicKey   domain.PublicKey
	Application domain.ApplicationID
	Alias       string
	// Err is the cause of Internal, and of a FunctionCall whose result the node refused.
	Err error
}

func (e *CallError) Error() string {
	switch e.Type {
	case FunctionCall:
		return e.Text
	case ContextNotFound:
		return "context not found"
	case Unauthorized:
		return fmt.Sprintf("cannot execute request as '%s' on context '%s'", e.PublicKey, e.Context)
	case Uninitialized:
		return "context state not initialized, awaiting state sync"
	case ApplicationNotInstalled:
		return fmt.Sprintf("application not installed: '%s'", e.Application)
	case AliasResolutionFailed:
		return fmt.Sprintf("error resolving identity alias '%s'", e.Alias)
	}
	if e.Err != nil {
		return "internal error: " + e.Err.Error()
	}
	return "internal error"
}

func (e *CallError) Unwrap() error { return e.Err }

// Is lets errors.Is find the error kind nearest to the type.
func (e *CallError) Is(target error) bool {
	k, ok := target.(errkind.Kind)
	if !ok {
		return false
	}
	switch e.Type {
	case ContextNotFound, ApplicationNotInstalled, AliasResolutionFailed:
		return k == errkind.NotFound
	case Unauthorized:
		return k == errkind.PermissionDenied
	case Uninitialized:
		return k == errkind.Precondition
	case FunctionCall:
		return k == errkind.Invalid
	}
	return false
}

// internal wraps err unless it is a CallError already.
func internal(err error) error {
	var c *CallError
	if err == nil || errors.As(err, &c) {
		return err
	}
	return &CallError{Type: Internal, Err: err}
}

func functionCall(format string, args ...any) error {
	return &CallError{Type: FunctionCall, Text: fmt.Sprintf(format, args...)}
}
