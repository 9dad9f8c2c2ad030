//go:build !linux

package mcptool

import (
	"errors"
	"io"
	"os"
)

// process cannot be had: only Linux ends a program when we are killed, and one that
// outlives us acts for people who are gone.
type process struct {
	in     *os.File
	out    io.ReadCloser
	exited chan struct{}
}

func start(*Config) (*process, error) {
	return nil, errors.New("MCP servers that are commands are run on Linux only; use a URL")
}

func (p *process) stop() {}
