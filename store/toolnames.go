package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
)

// PutToolNames stores the toolsets that names of backends' tools are in use of, by name,
// in the place of those from before.
func (s *Store) PutToolNames(ctx context.Context, names map[string]string) error {
	body, err := json.Marshal(names)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return s.Do(ctx, func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO tool_names (id, body) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET body = excluded.body", body)
		return err
	})
}

// ToolNames gives what was stored last; empty: nothing yet.
func (r *Reader) ToolNames(ctx context.Context) (map[string]string, error) {
	names := map[string]string{}
	err := r.each(ctx, func(rows *sql.Rows) error {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return err
		}
		return json.Unmarshal(body, &names)
	}, "SELECT body FROM tool_names WHERE id = 1")
	if err != nil {
		return nil, err
	}
	return names, nil
}
