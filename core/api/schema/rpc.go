package schema

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/calimero-go/core/core/api/jsonvalue"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// RPCRequest is a JSON-RPC request (http-api.md §2.1).
type RPCRequest struct {
	// ID is the JSON text of a string, an unsigned integer or null.
	ID json.RawMessage
	// Payload is the whole document; ReadExecution takes the rest from it.
	Payload []byte
}

// DecodeRPC reads version and id. Errors are *jsonvalue.Error.
func DecodeRPC(src []byte) (*RPCRequest, error) {
	r := &RPCRequest{Payload: src}
	err := jsonvalue.Decode(src, "struct Request", func(o *jsonvalue.Object) {
		if v, ok := o.Required("jsonrpc"); ok {
			v.Parse(func(text string) error {
				if text != "2.0" {
					return errors.New("Invalid JSON-RPC version")
				}
				return nil
			})
		}
		if v, ok := o.Required("id"); ok {
			id, ok := requestID(v.Raw())
			if !ok {
				v.Fail("data did not match any variant of untagged enum RequestId")
			}
			r.ID = id
		}
	})
	return r, err
}

// requestID is the normal form of an id.
func requestID(raw []byte) (json.RawMessage, bool) {
	id, err := jsonvalue.Normalise(raw)
	if err != nil || len(id) == 0 {
		return nil, false
	}
	switch c := id[0]; {
	case c == '"' || string(id) == "null":
		return id, true
	case c >= '0' && c <= '9':
		_, err := strconv.ParseUint(string(id), 10, 64)
		return id, err == nil
	}
	return nil, false
}

// Execution is what the method execute gets.
type Execution struct {
	ContextID domain.ContextID
	Method    string
	// Args is the normal form of argsJson, and ArgsSize the reference's estimate of its size.
	Args              []byte
	ArgsSize          int
	ExecutorPublicKey domain.PublicKey
	Substitute        []string
}

// ReadExecution reads method and params. Its errors name no place, as the reference's.
func (r *RPCRequest) ReadExecution() (*Execution, error) {
	e := &Execution{}
	err := jsonvalue.DecodeValue(r.Payload, "struct Request", func(o *jsonvalue.Object) {
		method, ok := o.Required("method")
		if !ok {
			return
		}
		known := false
		method.Parse(func(text string) error {
			err := oneOf(text, "execute")
			known = err == nil
			return err
		})
		if !known {
			return
		}
		if v, ok := o.Required("params"); ok {
			v.Object("struct ExecutionRequest", e.read)
		}
	})
	return e, err
}

func (e *Execution) read(o *jsonvalue.Object) {
	o.Into("contextId", &e.ContextID)
	e.Method = o.Text("method")
	if v, ok := o.Required("argsJson"); ok {
		args, err := jsonvalue.Normalise(v.Raw())
		if err != nil { // the document was checked
			v.Fail(err.Error())
		}
		e.Args, e.ArgsSize = args, jsonvalue.EstimateSize(args)
	}
	o.Into("executorPublicKey", &e.ExecutorPublicKey)
	if v, ok := o.Default("substitute"); ok {
		v.Each(func(item jsonvalue.Value) {
			var a domain.Alias
			parseAlias(item, &a)
			e.Substitute = append(e.Substitute, string(a))
		})
	}
}

// Validate tells what is wrong with the values.
func (e *Execution) Validate() []string {
	var f faults
	f.method("method", e.Method)
	f.bytes("args_json", e.ArgsSize, MaxArgs)
	f.items("substitute", len(e.Substitute), MaxSubstitute)
	return f
}

// RPCError is the error of a JSON-RPC answer: no code, but a type (http-api.md §2.2).
type RPCError struct {
	Type string `json:"type"`
	Data any    `json:"data,omitempty"`
}

// RPCResult is the result of a call that succeeded; Output is null when nothing was returned.
type RPCResult struct {
	Output json.RawMessage `json:"output"`
}

// RPCResponse is the answer; one of Result and Error is set.
type RPCResponse struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  *RPCResult      `json:"result,omitempty"`
	Error   *RPCError       `json:"error,omitempty"`
}

// Append writes the answer. Output is taken as it is, it must be in normal form.
func (r *RPCResponse) Append(out []byte) ([]byte, error) {
	out = append(out, `{"jsonrpc":"2.0","id":`...)
	out = append(out, r.ID...)
	if r.Error != nil {
		text, err := Encode(r.Error)
		if err != nil {
			return nil, err
		}
		out = append(append(out, `,"error":`...), text...)
		return append(out, '}'), nil
	}
	out = append(out, `,"result":{"output":`...)
	if len(r.Result.Output) == 0 {
		out = append(out, "null"...)
	} else {
		out = append(out, r.Result.Output...)
	}
	return append(out, "}}"...), nil
}

// ParseError is a request that is wrong.
func ParseError(text string) *RPCError { return &RPCError{Type: "ParseError", Data: text} }

// OpaqueError is the server's own failure; it tells nothing.
func OpaqueError() *RPCError { return &RPCError{Type: "InternalError", Data: struct{}{}} }

// SerdeError is a method's output that is no JSON.
func SerdeError(text string) *RPCError {
	return &RPCError{Type: "SerdeError", Data: struct {
		Message string `json:"message"`
	}{text}}
}

// UnauthorizedData says who may not call where.
type UnauthorizedData struct {
	ContextID domain.ContextID `json:"context_id"`
	PublicKey domain.PublicKey `json:"public_key"`
}

// ApplicationData names an application that is missing.
type ApplicationData struct {
	ApplicationID domain.ApplicationID `json:"application_id"`
}

// AliasData names an alias that is missing.
type AliasData struct {
	Alias string `json:"alias"`
}
