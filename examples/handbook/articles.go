package handbook

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Names of the tools, which behalf has too.
const (
	searchTool = "search_articles"
	readTool   = "read_article"
)

//go:embed articles/*.md
var files embed.FS

type query struct {
	Query string `json:"query" jsonschema:"what to look for, in a few words"`
}

// found is the answer of a search.
type found struct {
	Articles []heading `json:"articles"`
	Best     string    `json:"best" jsonschema:"the id of the article that fits best; empty: none does"`
}

type heading struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

type wanted struct {
	ID string `json:"id" jsonschema:"the article's id, as the search has it"`
}

type article struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Text  string `json:"text"`
}

// load reads the articles, each of which begins with its title.
func load() ([]article, error) {
	var all []article
	err := fs.WalkDir(files, "articles", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		title, body, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n")
		all = append(all, article{strings.TrimSuffix(path.Base(name), ".md"), title, strings.TrimSpace(body)})
		return nil
	})
	return all, err
}

// search ranks by how many of the words an article has.
func search(all []article, text string) found {
	out, most := found{Articles: []heading{}}, 0
	for _, a := range all {
		hits := 0
		for word := range strings.FieldsSeq(strings.ToLower(text)) {
			if len(word) > 3 && strings.Contains(strings.ToLower(a.Title+" "+a.Text), word) {
				hits++
			}
		}
		if hits == 0 {
			continue
		}
		out.Articles = append(out.Articles, heading{a.ID, a.Title})
		if hits > most {
			most, out.Best = hits, a.ID
		}
	}
	return out
}

func read(all []article, id string) (article, error) {
	for _, a := range all {
		if a.ID == id {
			return a, nil
		}
	}
	return article{}, errors.New("there is no such article; search for it")
}
