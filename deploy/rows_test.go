package deploy

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A page of the design numbers what must not happen again, and a test says in
// its comment which of these rows it proves.
var pages = []struct {
	rows *regexp.Regexp // as comments name them
	last int
	// elsewhere is rows that do not apply, each with the reason.
	elsewhere map[int]string
}{
	{
		rows: regexp.MustCompile(`\bidentity\.md\s+rows?\s+(\d+(?:(?:,\s*|,?\s+and\s+)\d+)*)`),
		last: 70,
		elsewhere: map[int]string{
			11: "nobody authenticates with a client assertion: there is no such grant",
			59: "no value is cached in Redis: it counts, and its notices name whom they are about",
			69: "no hook of an operator adds claims to a token",
		},
	},
}

var (
	lineBreak = regexp.MustCompile(`\n\s*//[ \t]*`)
	number    = regexp.MustCompile(`\d+`)
)

// Every row is named by a test, or stands among those that do not
// apply and in no test: a list that is out of date says less than none.
func TestEveryRowHasItsTest(t *testing.T) {
	text := comments(t)
	for _, p := range pages {
		named := map[int]bool{}
		for _, m := range p.rows.FindAllStringSubmatch(text, -1) {
			for _, n := range number.FindAllString(m[1], -1) {
				row, err := strconv.Atoi(n)
				if err != nil || row < 1 || row > p.last {
					t.Errorf("%q names a row that is not there", m[0])
				}
				named[row] = true
			}
		}
		for row := 1; row <= p.last; row++ {
			switch _, elsewhere := p.elsewhere[row]; {
			case named[row] && elsewhere:
				t.Errorf("%v: row %d does not apply and has a test", p.rows, row)
			case !named[row] && !elsewhere:
				t.Errorf("%v: no test names row %d", p.rows, row)
			}
		}
	}
}

// comments is the comments of all tests, one to a line that wraps or not.
func comments(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") || d.Name() == "rows_test.go" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, line := range strings.Split(lineBreak.ReplaceAllString(string(raw), " // "), "\n") {
			if _, comment, ok := strings.Cut(line, "//"); ok {
				all.WriteString(strings.ReplaceAll(comment, " // ", " ") + "\n")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
