package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/behalf-dev/behalf/audit"
	"github.com/pressly/goose/v3"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed migrations/sqlite/*.sql
var migrations embed.FS

// sqlitePath takes the path out of sqlite://path.
func sqlitePath(dsn string) (string, error) {
	path, ok := strings.CutPrefix(dsn, "sqlite://")
	if !ok {
		return "", fmt.Errorf("store: dsn %q: want sqlite://path", scheme(dsn))
	}
	if path == "" || strings.HasPrefix(path, ":memory:") || strings.ContainsRune(path, 0) {
		return "", errors.New("store: dsn: want sqlite:// and the path of a file")
	}
	return path, nil
}

// scheme is the part of a DSN that holds no password.
func scheme(dsn string) string {
	s, _, _ := strings.Cut(dsn, "://")
	return s + "://"
}

// prepareFile makes the file with mode 0600 before SQLite would make it with
// another; the WAL gets the same mode from SQLite.
func prepareFile(path string) (fs.FileInfo, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := audit.CheckMode(path); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return info, audit.SyncDir(filepath.Dir(path))
}

// fileURI makes a SQLite URI; only with one does SQLite obey mode=.
func fileURI(path string, q url.Values) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// maxWAL is how large the write-ahead log stays when it is begun anew.
const maxWAL = 64 << 20

func openWriter(path string) (*sql.DB, error) {
	// mode=rw: a connection that is made anew must not make an empty database.
	db, err := sql.Open("sqlite", fileURI(path, url.Values{
		"mode":    {"rw"},
		"_txlock": {"immediate"},
		"_dqs":    {"false"},
		"_pragma": {
			"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)",
			"temp_store(MEMORY)", "cache_size(-16384)", "wal_autocheckpoint(4000)", fmt.Sprintf("journal_size_limit(%d)", maxWAL),
		},
	}))
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// maxReaders is how many queries are answered at once.
const maxReaders = 8

func openReaders(path string) (*Reader, error) {
	db, err := sql.Open("sqlite", fileURI(path, readOnly()))
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	db.SetMaxOpenConns(maxReaders)
	db.SetMaxIdleConns(maxReaders)
	return &Reader{db: db}, nil
}

func readOnly() url.Values {
	return url.Values{"mode": {"ro"}, "_dqs": {"false"}, "_query_only": {"1"}, "_pragma": {"busy_timeout(5000)", "trusted_schema(0)"}}
}

func migrate(ctx context.Context, db *sql.DB) error {
	dir, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("store: migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("store: migrate: %w", err)
	}
	return nil
}
