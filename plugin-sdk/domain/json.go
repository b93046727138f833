package domain

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// jsonString reads data as a JSON string; what names the expected thing in the error.
func jsonString(data []byte, what string) (string, error) {
	if len(data) == 0 || data[0] != '"' {
		return "", fmt.Errorf("invalid type: %s, expected %s", jsonKind(data), what)
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return "", fmt.Errorf("read %s: %w", what, err)
	}
	return text, nil
}

// jsonKind names a JSON value as the reference's reader does in its errors.
func jsonKind(data []byte) string {
	if len(data) == 0 {
		return "nothing"
	}
	switch data[0] {
	case 'n':
		return "null"
	case 't', 'f':
		return "boolean `" + string(data) + "`"
	case '[':
		return "sequence"
	case '{':
		return "map"
	}
	if bytes.ContainsAny(data, ".eE") {
		return "floating point `" + string(data) + "`"
	}
	return "integer `" + string(data) + "`"
}
