package audit

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// The lines of an export. A row is its canonical bytes as they are, so that
// whoever verifies needs no other encoder.
const (
	keyLine        = `{"public_key":`
	rowLine        = `{"hash":`
	rowRecord      = `,"record":`
	checkpointLine = `{"checkpoint":`
)

// Export writes a log as JSON lines: the public key, the checkpoints, the rows.
// key may be nil when nothing is signed.
//
// The key in an export proves nothing by itself: whoever verifies compares it
// with the one they know.
func Export(w io.Writer, rows iter.Seq2[Row, error], checkpoints iter.Seq2[[]byte, error], key ed25519.PublicKey) error {
	out := bufio.NewWriterSize(w, 1<<16)
	if err := exportKey(out, key); err != nil {
		return err
	}
	if checkpoints != nil {
		for line, err := range checkpoints {
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			fmt.Fprintf(out, "%s%s}\n", checkpointLine, line)
		}
	}
	for row, err := range rows {
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		h := writer{}
		h.quote(row.Hash)
		fmt.Fprintf(out, "%s%s%s%s}\n", rowLine, h.b, rowRecord, row.Body)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func exportKey(out io.Writer, key ed25519.PublicKey) error {
	var text []byte
	if key != nil {
		var err error
		if text, err = PublicPEM(key); err != nil {
			return err
		}
	}
	w := writer{}
	w.lit(keyLine)
	w.quote(string(text))
	w.lit("}\n")
	if _, err := out.Write(w.b); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// Exported is an export as it was read, not yet believed.
type Exported struct {
	Key         ed25519.PublicKey // nil when nothing is signed
	Checkpoints iter.Seq2[[]byte, error]
	Rows        iter.Seq2[Row, error]
}

var errExport = errors.New("not an audit export")

// ReadExport reads the head of an export; Checkpoints and then Rows are read
// from r while they are ranged over, each once, in this order.
func ReadExport(r io.Reader) (Exported, error) {
	x := &exportReader{in: bufio.NewReaderSize(r, 1<<16)}
	line, err := x.next()
	if err != nil {
		return Exported{}, err
	}
	d := reader{s: string(line)}
	var text string
	d.text(keyLine, &text)
	d.lit("}")
	if err := d.end(); err != nil {
		return Exported{}, fmt.Errorf("%w: %w", errExport, err)
	}
	e := Exported{Checkpoints: x.checkpoints, Rows: x.rows}
	if text == "" {
		return e, nil
	}
	e.Key, err = ParsePublicKey([]byte(text))
	return e, err
}

type exportReader struct {
	in   *bufio.Reader
	held []byte // a line that was read by checkpoints and belongs to rows
}

// next gives a line without its line feed; a last line must have one.
func (x *exportReader) next() ([]byte, error) {
	if line := x.held; line != nil {
		x.held = nil
		return line, nil
	}
	line, err := x.in.ReadBytes('\n')
	if errors.Is(err, io.EOF) && len(line) > 0 {
		return nil, fmt.Errorf("%w: the last line is cut off", errExport)
	}
	if err != nil {
		return nil, err
	}
	return line[:len(line)-1], nil
}

func (x *exportReader) checkpoints(yield func([]byte, error) bool) {
	for {
		line, err := x.next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			yield(nil, err)
			return
		}
		body, ok := bytes.CutPrefix(line, []byte(checkpointLine))
		if !ok {
			x.held = line
			return
		}
		if !yield(bytes.TrimSuffix(body, []byte("}")), nil) {
			return
		}
	}
}

func (x *exportReader) rows(yield func(Row, error) bool) {
	for {
		line, err := x.next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			yield(Row{}, err)
			return
		}
		row, err := parseRowLine(string(line))
		if !yield(row, err) || err != nil {
			return
		}
	}
}

// parseRowLine takes the columns from the bytes: an export has no others. Bytes
// that are no record are left to Verify, which names the row.
func parseRowLine(line string) (Row, error) {
	d := reader{s: line}
	var row Row
	d.text(rowLine, &row.Hash)
	d.lit(rowRecord)
	if d.err != nil || !strings.HasSuffix(d.s, "}") {
		return Row{}, fmt.Errorf("%w: a line is neither row nor checkpoint", errExport)
	}
	row.Body = []byte(strings.TrimSuffix(d.s, "}"))
	rec, err := Parse(row.Body)
	if err != nil {
		return row, nil //nolint:nilerr // a damaged row is passed on: Verify says what is wrong with it
	}
	row.Columns = rec.Columns()
	return row, nil
}
