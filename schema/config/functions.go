package config

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// functions are those of Terraform that give the same answer every time, under Terraform's names, and a few of our own:
// cidrcontains and mac. Paths of files are relative to dir.
func functions(dir string) map[string]function.Function {
	f := map[string]function.Function{
		// numbers
		"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc,
		"max": stdlib.MaxFunc, "min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc,
		"signum": stdlib.SignumFunc,
		// strings
		"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc,
		"indent": stdlib.IndentFunc, "join": stdlib.JoinFunc, "lower": stdlib.LowerFunc, "regex": stdlib.RegexFunc,
		"regexall": stdlib.RegexAllFunc, "split": stdlib.SplitFunc, "strrev": stdlib.ReverseFunc,
		"substr": stdlib.SubstrFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc,
		"trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc,
		"upper": stdlib.UpperFunc,
		// collections
		"chunklist": stdlib.ChunklistFunc, "coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc,
		"concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc,
		"element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "keys": stdlib.KeysFunc,
		"merge": stdlib.MergeFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc,
		"setintersection": stdlib.SetIntersectionFunc, "setproduct": stdlib.SetProductFunc,
		"setsubtract": stdlib.SetSubtractFunc, "setunion": stdlib.SetUnionFunc, "slice": stdlib.SliceFunc,
		"sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,
		// encodings
		"csvdecode": stdlib.CSVDecodeFunc, "jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc,
		// types
		"tobool": stdlib.MakeToFunc(cty.Bool), "tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)),
		"tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)), "tonumber": stdlib.MakeToFunc(cty.Number),
		"toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)), "tostring": stdlib.MakeToFunc(cty.String),
		"can": tryfunc.CanFunc, "try": tryfunc.TryFunc,
	}
	addTextFunctions(f)
	addCollectionFunctions(f)
	addCIDRFunctions(f)
	addFileFunctions(f, dir)
	return f
}

// textFunc is a function of strings that gives a string.
func textFunc(do func(args []string) (string, error), names ...string) function.Function {
	return ofStrings(cty.String, func(a []string) (cty.Value, error) {
		s, err := do(a)
		return cty.StringVal(s), err
	}, names...)
}

// testFunc is a function of strings that gives true or false.
func testFunc(do func(args []string) (bool, error), names ...string) function.Function {
	return ofStrings(cty.Bool, func(a []string) (cty.Value, error) {
		b, err := do(a)
		return cty.BoolVal(b), err
	}, names...)
}

func ofStrings(result cty.Type, do func(args []string) (cty.Value, error), names ...string) function.Function {
	spec := &function.Spec{Type: function.StaticReturnType(result)}
	for _, n := range names {
		spec.Params = append(spec.Params, function.Parameter{Name: n, Type: cty.String})
	}
	spec.Impl = func(vals []cty.Value, _ cty.Type) (cty.Value, error) {
		args := make([]string, len(vals))
		for i, v := range vals {
			args[i] = v.AsString()
		}
		v, err := do(args)
		if err != nil {
			return cty.UnknownVal(result), err
		}
		return v, nil
	}
	return function.New(spec)
}

func addTextFunctions(f map[string]function.Function) {
	f["startswith"] = testFunc(func(a []string) (bool, error) { return strings.HasPrefix(a[0], a[1]), nil }, "string", "prefix")
	f["endswith"] = testFunc(func(a []string) (bool, error) { return strings.HasSuffix(a[0], a[1]), nil }, "string", "suffix")
	f["strcontains"] = testFunc(func(a []string) (bool, error) { return strings.Contains(a[0], a[1]), nil }, "string", "substring")
	f["sha256"] = textFunc(func(a []string) (string, error) {
		h := sha256.Sum256([]byte(a[0]))
		return hex.EncodeToString(h[:]), nil
	}, "string")
	f["base64encode"] = textFunc(func(a []string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(a[0])), nil }, "string")
	f["base64decode"] = textFunc(func(a []string) (string, error) {
		b, err := base64.StdEncoding.DecodeString(a[0])
		if err == nil && !utf8.Valid(b) {
			err = errors.New("the decoded bytes are not UTF-8 text")
		}
		return string(b), err
	}, "string")
	// As in Terraform, /…/ around the substring makes it a regular expression.
	f["replace"] = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "string", Type: cty.String}, {Name: "substring", Type: cty.String}, {Name: "replacement", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			if s := a[1].AsString(); len(s) > 1 && strings.HasPrefix(s, "/") && strings.HasSuffix(s, "/") {
				return stdlib.RegexReplaceFunc.Call([]cty.Value{a[0], cty.StringVal(s[1 : len(s)-1]), a[2]})
			}
			return stdlib.ReplaceFunc.Call(a)
		},
	})
	// mac makes a stable MAC from a name, in the range that QEMU and libvirt use.
	f["mac"] = textFunc(func(a []string) (string, error) {
		h := sha256.Sum256([]byte("vmnet:guest:" + a[0]))
		return fmt.Sprintf("52:54:00:%02x:%02x:%02x", h[0], h[1], h[2]), nil
	}, "name")
}

// maxFile bounds what file reads: configurations are small, and /dev/zero is not.
const maxFile = 1 << 20

func addFileFunctions(f map[string]function.Function, dir string) {
	f["file"] = textFunc(func(a []string) (string, error) { return readText(dir, a[0]) }, "path")
	f["fileexists"] = testFunc(func(a []string) (bool, error) {
		info, err := os.Stat(inDir(dir, a[0]))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil && info.Mode().IsRegular(), err
	}, "path")
	f["basename"] = textFunc(func(a []string) (string, error) { return filepath.Base(a[0]), nil }, "path")
	f["dirname"] = textFunc(func(a []string) (string, error) { return filepath.Dir(a[0]), nil }, "path")
}

func inDir(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func readText(dir, path string) (string, error) {
	path = inDir(dir, path)
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	r, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer r.Close() // read only: nothing can be lost
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return "", err
	case len(b) > maxFile:
		return "", fmt.Errorf("%s is larger than 1 MiB", path)
	case !utf8.Valid(b):
		return "", fmt.Errorf("%s is not UTF-8 text", path)
	}
	return string(b), nil
}

func addCollectionFunctions(f map[string]function.Function) {
	f["length"] = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.Number),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			if a[0].Type() == cty.String {
				return stdlib.StrlenFunc.Call(a)
			}
			if !a[0].CanIterateElements() {
				return cty.UnknownVal(cty.Number), errors.New("a string, list, set, map or object is needed")
			}
			return cty.NumberIntVal(int64(a[0].LengthInt())), nil
		},
	})
	f["lookup"] = lookupFunc()
	f["coalesce"] = coalesceFunc()
	f["index"] = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}, {Name: "value", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.Number),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			if !isSequence(a[0].Type()) {
				return cty.UnknownVal(cty.Number), errors.New("a list is needed")
			}
			for i, v := range a[0].AsValueSlice() {
				if eq, err := stdlib.Equal(v, a[1]); err == nil && eq.IsKnown() && eq.True() {
					return cty.NumberIntVal(int64(i)), nil
				}
			}
			return cty.UnknownVal(cty.Number), errors.New("the list does not have this value")
		},
	})
	f["one"] = oneFunc()
	f["sum"] = foldFunc(cty.Number, cty.Zero, func(a, b cty.Value) cty.Value { return a.Add(b) })
	f["alltrue"] = foldFunc(cty.Bool, cty.True, func(a, b cty.Value) cty.Value { return a.And(b) })
	f["anytrue"] = foldFunc(cty.Bool, cty.False, func(a, b cty.Value) cty.Value { return a.Or(b) })
}

func isSequence(t cty.Type) bool { return t.IsListType() || t.IsTupleType() || t.IsSetType() }

// lookupFunc is lookup(map, key, default); without a default a missing key is an error.
func lookupFunc() function.Function {
	return function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "map", Type: cty.DynamicPseudoType}, {Name: "key", Type: cty.String}},
		VarParam: &function.Parameter{Name: "default", Type: cty.DynamicPseudoType, AllowNull: true},
		Type: func(a []cty.Value) (cty.Type, error) {
			if t := a[0].Type(); !t.IsMapType() && !t.IsObjectType() && t != cty.DynamicPseudoType {
				return cty.DynamicPseudoType, function.NewArgErrorf(0, "a map or object is needed")
			}
			if len(a) > 3 {
				return cty.DynamicPseudoType, errors.New("lookup takes a map, a key and a default")
			}
			return cty.DynamicPseudoType, nil
		},
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			if v, ok := a[0].AsValueMap()[a[1].AsString()]; ok {
				return v, nil
			}
			if len(a) == 3 {
				return a[2], nil
			}
			return cty.DynamicVal, fmt.Errorf("the map has no key %q, and lookup was given no default", a[1].AsString())
		},
	})
}

// coalesceFunc gives the first argument that is neither null nor "".
func coalesceFunc() function.Function {
	return function.New(&function.Spec{
		VarParam: &function.Parameter{Name: "values", Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true},
		Type: func(a []cty.Value) (cty.Type, error) {
			types := make([]cty.Type, len(a))
			for i, v := range a {
				types[i] = v.Type()
			}
			t, _ := convert.UnifyUnsafe(types)
			if t == cty.NilType {
				return cty.DynamicPseudoType, errors.New("all arguments must be of one type")
			}
			return t, nil
		},
		Impl: func(a []cty.Value, t cty.Type) (cty.Value, error) {
			for _, v := range a {
				v, err := convert.Convert(v, t)
				if err != nil {
					return cty.UnknownVal(t), err
				}
				if !v.IsKnown() {
					return cty.UnknownVal(t), nil
				}
				if v.IsNull() || (v.Type() == cty.String && v.AsString() == "") {
					continue
				}
				return v, nil
			}
			return cty.UnknownVal(t), errors.New("every argument is null or empty")
		},
	})
}

// oneFunc gives the only element of a list or set, null for an empty one.
func oneFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.DynamicPseudoType),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			if !isSequence(a[0].Type()) {
				return cty.DynamicVal, errors.New("a list or set is needed")
			}
			switch vals := a[0].AsValueSlice(); len(vals) {
			case 0:
				return cty.NullVal(cty.DynamicPseudoType), nil
			case 1:
				return vals[0], nil
			default:
				return cty.DynamicVal, fmt.Errorf("the list has %d elements, not one", len(vals))
			}
		},
	})
}

// foldFunc combines the elements of a list.
func foldFunc(t cty.Type, start cty.Value, step func(a, b cty.Value) cty.Value) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "list", Type: cty.List(t)}},
		Type:   function.StaticReturnType(t),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			sum := start
			for _, v := range a[0].AsValueSlice() {
				if v.IsNull() {
					return cty.UnknownVal(t), errors.New("the list has a null element")
				}
				sum = step(sum, v)
			}
			return sum, nil
		},
	})
}
