package disktest

import (
	"os"
	"os/exec"
	"testing"
)

const env = "BEHALF_DISKTEST"

// OwnProcess says whether the test has a process of its own. If not it runs the
// test in one and fails as that fails.
func OwnProcess(t *testing.T) bool {
	t.Helper()
	if os.Getenv(env) == t.Name() {
		return true
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), env+"="+t.Name())
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("in its own process: %v\n%s", err, out)
	}
	return false
}
