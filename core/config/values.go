package config

import (
	"fmt"
	"math"
	"math/big"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
)

const maxList = 1024 // elements of any list in the file

func text(name string, to *string, checks ...func(string) error) field {
	return field{name: name, read: func(v cty.Value) error {
		s, err := asString(v)
		if err != nil {
			return err
		}
		for _, check := range checks {
			if err := check(s); err != nil {
				return err
			}
		}
		*to = s
		return nil
	}}
}

func asString(v cty.Value) (string, error) {
	if v.Type() != cty.String {
		return "", fmt.Errorf("a string in quotes is needed, not %s", typeName(v))
	}
	return v.AsString(), nil
}

func boolean(name string, to *bool) field {
	return field{name: name, read: func(v cty.Value) error {
		if v.Type() != cty.Bool {
			return fmt.Errorf("true or false is needed, without quotes, not %s", typeName(v))
		}
		*to = v.True()
		return nil
	}}
}

// number reads a whole number from low to high.
func number[T ~int | ~uint16 | ~uint32 | ~uint64](name string, to *T, low, high uint64) field {
	return field{name: name, read: func(v cty.Value) error {
		n, err := wholeNumber(v, low, high)
		if err == nil {
			*to = T(n)
		}
		return err
	}}
}

func wholeNumber(v cty.Value, low, high uint64) (uint64, error) {
	if v.Type() != cty.Number {
		return 0, fmt.Errorf("a number without quotes is needed, not %s", typeName(v))
	}
	f := v.AsBigFloat()
	n, accuracy := f.Uint64()
	if !f.IsInt() || accuracy != big.Exact || n < low || n > high {
		return 0, fmt.Errorf("a whole number from %d to %d is needed", low, high)
	}
	return n, nil
}

// duration reads "250ms", "30s", "2m" from low to high; 0 is allowed when low is 0.
func duration(name string, to *time.Duration, low, high time.Duration) field {
	return field{name: name, read: func(v cty.Value) error {
		s, err := asString(v)
		if err != nil {
			return fmt.Errorf(`a duration such as "30s" or "250ms" is needed, in quotes, not %s`, typeName(v))
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf(`%q is not a duration; write a number and a unit, such as "30s", "250ms" or "2m"`, s)
		}
		if d < low || d > high {
			return fmt.Errorf("a duration from %v to %v is needed", low, high)
		}
		*to = d
		return nil
	}}
}

var sizeUnits = []struct {
	suffix string
	factor uint64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}

// size reads bytes: a whole number, or a string such as "10MiB".
func size(name string, to *uint64, low, high uint64) field {
	return field{name: name, read: func(v cty.Value) error {
		if v.Type() == cty.Number {
			n, err := wholeNumber(v, low, high)
			if err == nil {
				*to = n
			}
			return err
		}
		s, err := asString(v)
		if err != nil {
			return fmt.Errorf(`a size such as "10MiB" or a number of bytes is needed, not %s`, typeName(v))
		}
		n, err := parseSize(s)
		if err != nil {
			return err
		}
		if n < low || n > high {
			return fmt.Errorf("a size from %d to %d bytes is needed", low, high)
		}
		*to = n
		return nil
	}}
}

func parseSize(s string) (uint64, error) {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 64)
		if err != nil || n > math.MaxUint64/u.factor {
			break
		}
		return n * u.factor, nil
	}
	return 0, fmt.Errorf(`%q is not a size; write a whole number and B, KiB, MiB or GiB, such as "10MiB"`, s)
}

func texts(name string, to *[]string, checks ...func(string) error) field {
	return field{name: name, read: func(v cty.Value) error {
		t := v.Type()
		if !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
			return fmt.Errorf(`a list of strings is needed, such as ["a", "b"], not %s`, typeName(v))
		}
		if v.LengthInt() > maxList {
			return fmt.Errorf("a list may have %d elements; this one has %d", maxList, v.LengthInt())
		}
		list := []string{}
		for i, e := range v.AsValueSlice() {
			if e.IsNull() {
				return fmt.Errorf("element %d is null; write a string or leave it out", i)
			}
			s, err := asString(e)
			if err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
			for _, check := range checks {
				if err := check(s); err != nil {
					return fmt.Errorf("element %d: %w", i, err)
				}
			}
			list = append(list, s)
		}
		*to = list
		return nil
	}}
}

// strings by name, such as env = { A = "b" }.
func textMap(name string, to *map[string]string, checkKey func(string) error) field {
	return field{name: name, read: func(v cty.Value) error {
		t := v.Type()
		if !t.IsObjectType() && !t.IsMapType() {
			return fmt.Errorf(`an object of strings is needed, such as { NAME = "value" }, not %s`, typeName(v))
		}
		if v.LengthInt() > maxList {
			return fmt.Errorf("it may have %d elements; this one has %d", maxList, v.LengthInt())
		}
		m := make(map[string]string, v.LengthInt())
		for k, e := range v.AsValueMap() {
			if err := checkKey(k); err != nil {
				return err
			}
			if e.IsNull() {
				return fmt.Errorf("%s is null; write a string or leave it out", k)
			}
			s, err := asString(e)
			if err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			if strings.ContainsRune(s, 0) {
				return fmt.Errorf("%s holds a zero byte", k)
			}
			m[k] = s
		}
		*to = m
		return nil
	}}
}

func typeName(v cty.Value) string {
	switch t := v.Type(); {
	case t == cty.String:
		return "a string"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "a bool"
	case t.IsTupleType(), t.IsListType(), t.IsSetType():
		return "a list"
	case t.IsObjectType(), t.IsMapType():
		return "an object"
	}
	return v.Type().FriendlyName()
}

func oneOf(known ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(known, s) {
			return nil
		}
		return fmt.Errorf("%q is not known; %s", s, didYouMean(s, known))
	}
}

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)
	nodeForm   = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,63})$`)
	envForm    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	sha256Form = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func nodeName(s string) error {
	if !nodeForm.MatchString(s) {
		return fmt.Errorf("%q is not a node name; use up to 64 letters, digits, '-', '_' and '.', not starting with '.' or '-'", s)
	}
	return nil
}

func envName(s string) error {
	if !envForm.MatchString(s) {
		return fmt.Errorf("%q is not the name of an environment variable; use letters, digits and '_'", s)
	}
	return nil
}

func sha256Hex(s string) error {
	if !sha256Form.MatchString(s) {
		return fmt.Errorf("a sha256 in 64 lower-case hex digits is needed; merod plugin pin prints it")
	}
	return nil
}

func path(s string) error {
	if s == "" {
		return fmt.Errorf("a path is needed; it is empty")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("the path %q holds a control character", s)
	}
	return nil
}

func noZero(s string) error {
	if strings.ContainsRune(s, 0) {
		return fmt.Errorf("the text holds a zero byte")
	}
	return nil
}

// listenAddress wants host:port with a numeric host.
func listenAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf(`%q is not an address; write address:port, such as "127.0.0.1:2528" or "[::1]:2528"`, s)
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return fmt.Errorf(`%q: the host must be a numeric address, such as 127.0.0.1, 0.0.0.0 or ::1 in brackets`, s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: the port must be a number from 0 to 65535", s)
	}
	return nil
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
