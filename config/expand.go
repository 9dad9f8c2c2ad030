package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

const maxReferred = 1 << 20

// secret takes references only, so that a configuration can be shown, copied
// and committed. Fields with is:"open" may also be literal.
func (r *reader) secret(n *yaml.Node, s slot) bool {
	if n.Kind != yaml.ScalarNode {
		return r.wrong(n, s.at, "a single value")
	}
	referred, ok := r.expand(n, s)
	switch {
	case !ok:
		return false
	case !referred && s.tag.Get("is") != "open":
		return r.spoil(s.at, "a secret is written out here", "replace it by ${env:NAME} or ${file:path}, and renew it: it has been in a file")
	case referred && strings.TrimSpace(n.Value) == "":
		return r.spoil(s.at, "the secret is empty", "put a value where the reference points to")
	}
	n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
	return true
}

// expand replaces the references of a scalar and says whether it had any. `$${`
// stands for `${`.
func (r *reader) expand(n *yaml.Node, s slot) (referred, ok bool) {
	var out strings.Builder
	for rest := n.Value; ; {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			out.WriteString(rest)
			break
		}
		if text, escaped := strings.CutSuffix(before, "$"); escaped {
			out.WriteString(text + "${")
			rest = after
			continue
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return false, r.spoil(s.at, "a reference does not end", "close it with }, or write $${ for a plain ${")
		}
		value, ok := r.refer(name, s)
		if !ok {
			return false, false
		}
		out.WriteString(before + value)
		rest, referred = tail, true
	}
	n.Value = out.String()
	return referred, true
}

func (r *reader) refer(name string, s slot) (string, bool) {
	kind, what, _ := strings.Cut(name, ":")
	switch {
	case what == "" || kind != "env" && kind != "file":
		return "", r.spoil(s.at, "${"+clip(name)+"} is not a reference", "write ${env:NAME} or ${file:path}, or $${ for a plain ${")
	case kind == "env":
		return r.variable(what, s)
	}
	return r.content(what, s)
}

func (r *reader) variable(name string, s slot) (string, bool) {
	if r.world.Env != nil {
		if value, ok := r.world.Env(name); ok {
			return value, true
		}
	}
	return "", r.spoil(s.at, "the environment variable "+clip(name)+" is not set", "set it before the start")
}

// content gives a file's text without the line break that editors put at its end.
func (r *reader) content(name string, s slot) (string, bool) {
	path := resolve(r.world.Dir, name)
	if message, fix := r.world.checkFile(path, s.typ == reflect.TypeFor[Secret]()); message != "" {
		return "", r.spoil(s.at, "the file "+clip(name)+" "+message, fix)
	}
	data, err := r.world.read(path, maxReferred)
	if err != nil {
		return "", r.spoil(s.at, "the file "+clip(name)+" cannot be read: "+reason(err), "check the path, which begins at the folder of the configuration, and its mode")
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), true
}

// path makes a path relative to the file's folder and looks whether the server
// will find what it needs there.
func (r *reader) path(n *yaml.Node, s slot, kind string) bool {
	switch kind {
	case "dsn":
		n.Value = resolveDSN(r.world.Dir, n.Value)
	case "path", "file", "keyfile", "dir":
		if n.Value == "stdout" && s.tag.Get("or") == "stdout" {
			return true
		}
		n.Value = resolve(r.world.Dir, n.Value)
	}
	message, fix := "", ""
	switch kind {
	case "file", "keyfile":
		message, fix = r.world.checkFile(n.Value, kind == "keyfile")
	case "dir":
		message, fix = r.world.checkDir(n.Value)
	}
	if message != "" {
		return r.spoil(s.at, r.show(s.at)+" "+message, fix)
	}
	return true
}

func resolve(dir, path string) string {
	if dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func resolveDSN(dir, dsn string) string {
	path, ok := strings.CutPrefix(dsn, "sqlite://")
	if !ok || path == "" || strings.HasPrefix(path, ":") {
		return dsn
	}
	return "sqlite://" + resolve(dir, path)
}

func (w World) open(path string) (fs.File, error) {
	if w.Open != nil {
		return w.Open(path)
	}
	// Look first: opening a named pipe would wait for a writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return nil, errors.New("it is not a file")
	}
	return os.Open(path)
}

func (w World) stat(path string) (fs.FileInfo, error) {
	f, err := w.open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return f.Stat()
}

func (w World) read(path string, most int64) ([]byte, error) {
	f, err := w.open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, errors.New("it is too large")
	}
	return data, nil
}

func (w World) checkFile(path string, private bool) (message, fix string) {
	info, err := w.stat(path)
	switch {
	case err != nil:
		return "cannot be read: " + reason(err), "check the path, which begins at the folder of the configuration, and its mode"
	case !info.Mode().IsRegular():
		return "is not a file", "name a file"
	case private && info.Mode().Perm()&0o077 != 0:
		return "can be read by others: its mode is " + octal(info.Mode()), "run chmod 600"
	}
	return "", ""
}

func (w World) checkDir(path string) (message, fix string) {
	info, err := w.stat(path)
	switch {
	case err != nil:
		return "cannot be read: " + reason(err), "create the folder; the path begins at the folder of the configuration"
	case !info.IsDir():
		return "is not a folder", "name the folder that the files are in"
	}
	return "", ""
}

// reason leaves the path out of an error: it may come from a reference.
func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}
