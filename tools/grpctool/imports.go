package grpctool

import (
	"fmt"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/protobuf/types/descriptorpb"
)

// What files may have of imports, together: each is a few bytes, and names a file that is
// asked for or linked.
const (
	maxImports = 8 << 10
	maxPublic  = 1 << 20 // steps by public imports, see ways
)

// want notes what a file imports, each name once.
func (f *files) want(fd *descriptorpb.FileDescriptorProto) error {
	if f.imports += len(fd.GetDependency()) + len(fd.GetOptionDependency()); f.imports > maxImports {
		return fmt.Errorf("the descriptors have more than %d imports", maxImports)
	}
	for _, dep := range fd.GetDependency() {
		if !f.named[dep] {
			f.named[dep] = true
			f.wanted = append(f.wanted, dep)
		}
	}
	return nil
}

// missing is an import that is not there; false: all are. Each is given once. Ours are
// added.
func (f *files) missing() (path string, lost bool, err error) {
	for len(f.wanted) > 0 {
		path, f.wanted = f.wanted[0], f.wanted[1:]
		if f.byPath[path] != nil {
			continue
		}
		own := ours(path)
		if own == nil {
			return path, true, nil
		}
		f.byPath[path] = own
		if err := f.want(own); err != nil {
			return "", false, err
		}
	}
	return "", false, nil
}

// complete reports imports that are not there, of a set that has all of its own.
func (f *files) complete() error {
	var all []string
	for {
		path, lost, err := f.missing()
		switch {
		case err != nil:
			return err
		case lost:
			all = append(all, path)
		case len(all) > 0:
			slices.Sort(all)
			return fmt.Errorf("the descriptors lack %s, which they import; make the set with its imports", tools.Clean(strings.Join(all, ", "), maxIdentifier))
		default:
			return nil
		}
	}
}

// ways reports public imports that lead to each other in too many ways. The library
// follows each way, and a few dozen files can have more than can ever be followed.
func (f *files) ways() error {
	known, all := map[string]int{}, 0
	for path, fd := range f.byPath {
		f.follow(path, known)
		for _, dep := range fd.GetDependency() {
			all = min(all+f.follow(dep, known), maxPublic)
		}
	}
	if all == maxPublic {
		return fmt.Errorf("the descriptors import each other publicly in more than %d ways", maxPublic)
	}
	return nil
}

// follow is how many steps the public imports of a file are, at most maxPublic. A circle,
// which is refused later, ends where it began.
func (f *files) follow(path string, known map[string]int) int {
	if n, ok := known[path]; ok {
		return n
	}
	known[path] = 0
	fd, n := f.byPath[path], 0
	for _, i := range fd.GetPublicDependency() {
		if i >= 0 && int(i) < len(fd.GetDependency()) {
			n = min(n+1+f.follow(fd.GetDependency()[i], known), maxPublic)
		}
	}
	known[path] = n
	return n
}
