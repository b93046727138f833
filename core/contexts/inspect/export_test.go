package inspect

// DecodeType reads a value of a Rust type by the type's name.
func DecodeType(name string, in []byte) (value any, shown string, err error) {
	t := parseType(name)
	v, err := t.read(in)
	return v, t.name, err
}
