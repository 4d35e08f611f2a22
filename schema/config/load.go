package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/vmnet/vmnet/schema"
)

// Suffixes of the files that are read from a directory.
const (
	Suffix     = ".vmnet.hcl"
	VarsSuffix = ".auto.vmvars.hcl"
)

// stdinName is what standard input is called in diagnostics and origins.
const stdinName = "<stdin>"

// Options are what Load needs to know beside the path. The zero Options are usable.
type Options struct {
	// Vars are the arguments of -var, "name=value". They win over everything else.
	Vars []string
	// VarFiles are the arguments of -var-file; a later one wins.
	VarFiles []string
	// Environ is the environment, as os.Environ gives it; VMNET_VAR_name is read.
	Environ []string
	// Stdin is read for the path "-".
	Stdin io.Reader
	// Version of vmnet, for required_version. One that is no version ("", "devel") satisfies everything.
	Version string
}

// Result is a configuration that was read.
type Result struct {
	// Desired is nil when the diagnostics have errors.
	Desired *schema.Desired
	// Files are the sources by name, for showing the lines of diagnostics; also when there are errors.
	Files map[string]*hcl.File

	loader *loader // places, for CheckLive
}

// Load reads a configuration: a directory of *.vmnet.hcl files with its *.auto.vmvars.hcl, one file, or "-" for
// standard input. It does not stop at the first error. Every diagnostic carries its Code in Extra; the Result is never
// nil.
func Load(path string, o Options) (*Result, hcl.Diagnostics) {
	l := newLoader(o)
	sources := l.read(path)
	l.parse(sources)
	l.declare()
	l.evaluate()
	if !l.unreadable {
		l.validate() // also after errors: what is there can be compared, and all mistakes be told at once
	}
	r := &Result{Files: l.files, loader: l}
	if !l.diags.HasErrors() {
		r.Desired = l.compile()
		r.Desired.Digest = l.digest(sources)
	}
	return r, sorted(l.diags)
}

// Parse reads the text of one file and says what of it is not HCL; name is what diagnostics call it. It is what fmt needs
// to know of a file.
func Parse(name string, text []byte) (map[string]*hcl.File, hcl.Diagnostics) {
	l := newLoader(Options{})
	l.parse([]source{{name, text}})
	return l.files, sorted(l.diags)
}

// Unreadable says that there is nothing to read at a path, and why.
func Unreadable(path string, err error) hcl.Diagnostics {
	l := newLoader(Options{})
	l.unread(cannotRead(path, err))
	return l.diags
}

func cannotRead(path string, err error) string {
	return fmt.Sprintf("Cannot read %s: %v. %s", path, cause(err), codeInfo(codeUnreadable).Cure)
}

// loader is one run of Load.
type loader struct {
	opts  Options
	dir   string // what relative paths in expressions are relative to
	files map[string]*hcl.File
	names []string // of the configuration's files, in the order they are read
	diags hcl.Diagnostics
	// unreadable is true when there is no text, broken when some of it is not HCL.
	unreadable, broken bool

	bodies    []*hclsyntax.Body
	autoFiles []string
	nodes     map[string]map[string]*node // by type and name
	order     []*node                     // blocks in the order of the files
	stack     []*node                     // being evaluated, for naming cycles
	funcs     map[string]function.Function
	given     map[string]givenValue // values for variables
	roots     map[string]*cachedRoot

	settings schema.Settings
	byID     map[string]any // *network and *guest by address
	networks []*network
	guests   []*guest
	forwards []*forward
	policies []*policy
	expects  []*expect
	protects []*protect
	adapters []*adapter
	sysctls  []*sysctl
}

func newLoader(o Options) *loader {
	return &loader{opts: o, files: map[string]*hcl.File{}, nodes: map[string]map[string]*node{}, byID: map[string]any{}}
}

// source is the text of one file.
type source struct {
	name string
	text []byte
}

// read finds and reads the files that the path names.
func (l *loader) read(path string) []source {
	if path == "-" {
		return l.readStdin()
	}
	info, err := os.Stat(path)
	if err != nil {
		l.unread(cannotRead(path, err))
		return nil
	}
	if !info.IsDir() {
		l.dir = filepath.Dir(path)
		return l.readFiles([]string{path})
	}
	l.dir = path
	entries, err := os.ReadDir(path)
	if err != nil {
		l.unread(fmt.Sprintf("Cannot list %s: %v.", path, cause(err)))
		return nil
	}
	var names []string
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasPrefix(name, "."): // editors keep their copies there
		case strings.HasSuffix(name, Suffix):
			names = append(names, filepath.Join(path, name))
		case strings.HasSuffix(name, VarsSuffix):
			l.autoFiles = append(l.autoFiles, filepath.Join(path, name))
		}
	}
	if len(names) == 0 {
		l.unread(fmt.Sprintf("The directory %s has no file whose name ends in %s.", path, Suffix))
	}
	return l.readFiles(names)
}

func (l *loader) readStdin() []source {
	l.dir = "."
	if l.opts.Stdin == nil {
		l.unread("Standard input is not open.")
		return nil
	}
	text, err := io.ReadAll(l.opts.Stdin)
	if err != nil {
		l.unread(fmt.Sprintf("Cannot read standard input: %v.", err))
		return nil
	}
	return []source{{stdinName, text}}
}

func (l *loader) readFiles(names []string) []source {
	slices.Sort(names)
	var out []source
	for _, n := range names {
		text, err := os.ReadFile(n)
		if err != nil {
			l.unread(fmt.Sprintf("Cannot read %s: %v.", n, cause(err)))
			continue
		}
		out = append(out, source{n, text})
	}
	return out
}

func (l *loader) unread(detail string) {
	l.unreadable = true
	l.fail(codeUnreadable, where{}, "%s", detail)
}

// cause takes the path off an error that the message already names.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

func (l *loader) parse(sources []source) {
	for _, s := range sources {
		f, diags := hclsyntax.ParseConfig(s.text, s.name, hcl.InitialPos)
		if diags.HasErrors() {
			l.broken = true
		}
		l.adopt(codeSyntax, where{}, diags)
		if f == nil {
			continue
		}
		l.files[s.name] = f
		l.names = append(l.names, s.name)
		if b, ok := f.Body.(*hclsyntax.Body); ok {
			l.bodies = append(l.bodies, b)
		}
	}
}

// syntaxErrorIn tells whether the parser gave up somewhere in the block, so that its content is not to be trusted.
func (l *loader) syntaxErrorIn(b *hclsyntax.Block) bool {
	if !l.broken {
		return false
	}
	rng := b.Range()
	return slices.ContainsFunc(l.diags, func(d *hcl.Diagnostic) bool {
		return d.Extra == codeSyntax && d.Subject != nil && d.Subject.Overlaps(rng)
	})
}

// digest identifies the text and the variables, wherever the files lie.
func (l *loader) digest(sources []source) string {
	h := sha256.New()
	for _, s := range sources {
		hashText(h, filepath.Base(s.name))
		hashText(h, string(s.text))
	}
	l.hashVariables(h)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// hashText adds a text with its length in front, so that no two lists of texts look the same. A hash never fails.
func hashText(h hash.Hash, s string) {
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
	h.Write([]byte(s))
}
