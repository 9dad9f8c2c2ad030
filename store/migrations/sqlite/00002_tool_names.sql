-- +goose Up
-- The toolset that each name of a backend's tool was last in use of, as one JSON object.
CREATE TABLE IF NOT EXISTS tool_names (
    id   INTEGER NOT NULL PRIMARY KEY,
    body BLOB    NOT NULL
) STRICT;

-- What an approver answered says by which token and client, too, and has other names.
UPDATE approvals SET answer = json_object(
    'Approver', json(json_extract(answer, '$.By')), 'ApproverName', json_extract(answer, '$.Name'), 'Comment', json_extract(answer, '$.Comment')
) WHERE answer LIKE '{"By":%';

-- +goose Down
DROP TABLE tool_names;
