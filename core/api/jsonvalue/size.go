package jsonvalue

// EstimateSize is the reference's estimate of a printed size: two bytes for each of a string. src must be a normal form.
func EstimateSize(src []byte) int {
	size := 0
	s := scanner{src: src}
	for s.i < len(src) {
		if src[s.i] != '"' {
			s.i++
			size++
			continue
		}
		text, err := s.string()
		if err != nil {
			return size
		}
		size += 2*len(text) + 2
	}
	return size
}
