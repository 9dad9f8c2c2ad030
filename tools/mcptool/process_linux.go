package mcptool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running program in a group of its own.
type process struct {
	cmd    *exec.Cmd
	in     *os.File
	out    io.ReadCloser
	pipes  *pipes
	exited chan struct{} // the program has ended and its group was killed
	wait   sync.WaitGroup
}

// farewell is how long a program has to end by itself, and again after SIGTERM.
const farewell = time.Second

// start runs the program. The kernel kills it when we are gone, however that
// happens; for that the thread which started it must live as long as it does.
func start(c *Config) (*process, error) {
	fds, err := newPipes()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.Command[0], c.Command[1:]...) //nolint:gosec,noctx // the operator's program; stop ends it
	cmd.Env, cmd.Dir = c.environ(), c.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = fds.theirs[0], fds.theirs[1], fds.theirs[2]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{cmd: cmd, in: fds.ours[0], out: fds.ours[1], pipes: fds, exited: make(chan struct{})}
	started := make(chan error, 1)
	p.wait.Go(func() { p.keep(started) })
	if err := <-started; err != nil {
		p.wait.Wait()
		fds.close()
		return nil, fmt.Errorf("start the program: %w", err)
	}
	for _, f := range fds.theirs {
		f.Close()
	}
	p.wait.Go(func() { complain(c, fds.ours[2]) })
	return p, nil
}

// keep starts the program and holds the thread until it has ended. The rest of its
// group is killed before it is reaped, while its number is still its own.
func (p *process) keep(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.exited)
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

func (p *process) signal(sig syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, sig) }

// stop ends the program: by closing its input, by asking, by force. Nothing of its
// group is left.
func (p *process) stop() {
	p.in.Close()
	for _, sig := range []syscall.Signal{0, syscall.SIGTERM, syscall.SIGKILL} {
		if sig != 0 && !p.ended() {
			p.signal(sig)
		}
		t := time.NewTimer(farewell)
		select {
		case <-p.exited:
		case <-t.C:
		}
		t.Stop()
	}
	p.pipes.close()
	p.wait.Wait()
}

func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}
