package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// field finds a value in a JSON document by a path such as "checks.0.before.status". "len" is the length of a list.
func field(doc []byte, path string) (string, error) {
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		return "", fmt.Errorf("standard output is no JSON: %w", err)
	}
	for step := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[step]
			if !ok {
				return "", fmt.Errorf("no field %q", step)
			}
			v = next
		case []any:
			if step == "len" {
				v = float64(len(x))
				continue
			}
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(x) {
				return "", fmt.Errorf("no element %q of %d", step, len(x))
			}
			v = x[i]
		default:
			return "", fmt.Errorf("%q of something that is neither object nor list", step)
		}
	}
	return fmt.Sprint(v), nil
}
