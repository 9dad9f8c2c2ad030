package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
)

// prove verifies the log that the stopped server left, and a copy with one
// flipped byte.
func (d *demo) prove(ctx context.Context) error {
	d.chapter(5, "An auditor verifies the log, without a server:")
	report, err := d.verify(ctx, d.database())
	if err != nil {
		return err
	}
	printReport(d.out, report)
	if !report.OK() {
		return errors.New("the audit log of the demo is not intact; this is a bug, please report it")
	}
	d.chapter(6, "Somebody with access to the disk changes one byte, in a copy:")
	forged, err := d.forge(ctx)
	if err != nil {
		return err
	}
	if report, err = d.verify(ctx, forged); err != nil {
		return err
	}
	printReport(d.out, report)
	if report.OK() {
		return errors.New("the forged log passed; this is a bug, please report it")
	}
	d.say("\nThat is all of it: who asked, through which agents, what was decided and why, and proof that nobody changed it.")
	d.say("Next: %s keeps this desk up for you and grpcurl.", d.paint.bold(self()+" dev"))
	return nil
}

func (d *demo) database() string { return strings.TrimPrefix(d.cfg.Store.DSN, "sqlite://") }

func (d *demo) verify(ctx context.Context, db string) (audit.Report, error) {
	e := evidence{store: db, witness: filepath.Join(d.dir, "audit.witness"), key: filepath.Join(d.dir, "audit.key.pub")}
	return e.verify(ctx)
}

// forge copies the database and changes one byte of one row in place, as
// somebody with the disk but not the key would: a decision becomes another word.
func (d *demo) forge(ctx context.Context) (string, error) {
	b, err := os.ReadFile(d.database())
	if err != nil {
		return "", err
	}
	row, at, err := d.decision(ctx)
	if err != nil {
		return "", err
	}
	// The file may hold older copies of the row in free pages: change each.
	for from := 0; ; {
		i := bytes.Index(b[from:], row)
		if i < 0 {
			break
		}
		b[from+i+at] ^= 'a' ^ 'A'
		from += i + len(row)
	}
	forged := filepath.Join(d.dir, "forged.db")
	return forged, os.WriteFile(forged, b, 0o600) //nolint:gosec // in our own temporary folder
}

// decision is the beginning of the stored row of a denial, and where in it the
// word of the decision is. A language model may not have tried anything that is
// denied; then it is a row that allows something.
func (d *demo) decision(ctx context.Context) (row []byte, at int, err error) {
	db, err := store.OpenReadOnly(d.database())
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = db.Close() }()
	for _, word := range []string{`"deny"`, `"allow"`} {
		for r, err := range db.Rows(ctx) {
			if err != nil {
				return nil, 0, err
			}
			if i := bytes.Index(r.Body, []byte(word)); i > 0 {
				return r.Body[:i+len(word)], i + 1, nil
			}
		}
	}
	return nil, 0, errors.New("the audit log holds no decision")
}
