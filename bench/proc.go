package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// proc is one measured process. One goroutine uses it.
type proc struct {
	cmd  *exec.Cmd
	addr string
	in   io.Writer
	out  *bufio.Reader
}

// spawn starts this program again in another role and waits until it says
// where it listens.
func spawn(ctx context.Context, role string, args ...string) (*proc, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, append([]string{"-role", role}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &proc{cmd: cmd, in: in, out: bufio.NewReader(out)}
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%s did not start: %w", role, err)
	}
	p.addr = strings.TrimSpace(line)
	return p, nil
}

func (p *proc) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// reading is what a process has used so far, and its memory.
type reading struct {
	cpu    time.Duration
	allocs int64
	memory int64 // resident, in bytes
}

// rest has the process give back the memory that it does not use, and reads it.
func (p *proc) rest() (r reading, err error) {
	if r.allocs, err = p.ask(askRest); err != nil {
		return r, err
	}
	if r.memory, err = p.resident(); err != nil {
		return r, err
	}
	// 5 has VmHWM begin again: proc(5), /proc/pid/clear_refs.
	if err := os.WriteFile(p.file("clear_refs"), []byte("5"), 0); err != nil {
		return r, err
	}
	r.cpu, err = p.cpu()
	return r, err
}

// peak reads the process, with the most memory that it had since its rest.
func (p *proc) peak() (r reading, err error) {
	if r.cpu, err = p.cpu(); err != nil {
		return r, err
	}
	if r.memory, err = p.memory("VmHWM:"); err != nil {
		return r, err
	}
	r.allocs, err = p.ask(askAllocs)
	return r, err
}

func (p *proc) resident() (int64, error) { return p.memory("VmRSS:") }

func (p *proc) file(name string) string { return fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name) }

// cpu is the processor time that the process has used: the exact run time of all
// its threads. schedstat counts nanoseconds, /proc/PID/stat hundredths of a second.
func (p *proc) cpu() (time.Duration, error) {
	tasks, err := os.ReadDir(p.file("task"))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, t := range tasks {
		b, err := os.ReadFile(p.file("task/" + t.Name() + "/schedstat"))
		if err != nil {
			continue // the thread is gone
		}
		ns, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

func (p *proc) memory(name string) (int64, error) {
	kb := number(p.file("status"), name)
	if kb == 0 {
		return 0, fmt.Errorf("%s has no %s", p.file("status"), name)
	}
	return int64(kb) << 10, nil
}

// number is what stands after a name in a file of /proc; 0 without.
func number(file, name string) int {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	_, rest, ok := bytes.Cut(b, []byte(name))
	if f := strings.Fields(string(rest)); ok && len(f) > 0 {
		n, _ := strconv.Atoi(f[0])
		return n
	}
	return 0
}

// What a process is asked on its standard input, one line each. It answers with
// how many objects it has allocated.
const (
	askAllocs = "allocs"
	askRest   = "rest" // collect and give back first
)

func (p *proc) ask(what string) (int64, error) {
	if _, err := fmt.Fprintln(p.in, what); err != nil {
		return 0, err
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(line), 10, 64)
}

// answer is the measured process's side of ask. It returns when the parent is gone.
func answer(in io.Reader, out io.Writer) {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if lines.Text() == askRest {
			debug.FreeOSMemory()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprintln(out, m.Mallocs)
	}
}
