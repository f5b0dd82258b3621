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
	rows   *regexp.Regexp // as comments name them
	number *regexp.Regexp // of one row, in what rows finds
	last   int
	// elsewhere is rows that do not apply, each with the reason.
	elsewhere map[int]string
}{
	{
		rows:   regexp.MustCompile(`\bidentity\.md\s+rows?\s+(\d+(?:(?:,\s*|,?\s+and\s+)\d+)*)`),
		number: regexp.MustCompile(`(\d+)`),
		last:   70,
		elsewhere: map[int]string{
			11: "nobody authenticates with a client assertion: there is no such grant",
			59: "no value is cached in Redis: it counts, and its notices name whom they are about",
			69: "no hook of an operator adds claims to a token",
		},
	},
	{
		rows:      regexp.MustCompile(`\bmoney\.md\s+(?:rows?\s+)?([A-Z]\d+(?:(?:,\s*|,?\s+and\s+)[A-Z]\d+)*)`),
		number:    regexp.MustCompile(`B(\d+)`),
		last:      57,
		elsewhere: moneyElsewhere,
	},
}

// moneyElsewhere are the rows of the money page that nothing here can break.
var moneyElsewhere = map[int]string{
	12: "a trial is never moved: what is bought after it has an anchor of its own",
	22: "every ON CONFLICT names its columns, every refusal its constraint",
	47: "everything that follows from a transaction leaves by its outbox; TestNoCallInTransactions holds the rest",
	48: "a transaction locks one payment and what hangs on it; the chaos would show a deadlock as an answer that is no outage",
}

var lineBreak = regexp.MustCompile(`\n\s*//[ \t]*`)

// Every row is named by a test, or stands among those that do not
// apply and in no test: a list that is out of date says less than none.
func TestEveryRowHasItsTest(t *testing.T) {
	text := comments(t)
	for _, p := range pages {
		named := map[int]bool{}
		for _, m := range p.rows.FindAllStringSubmatch(text, -1) {
			for _, n := range p.number.FindAllStringSubmatch(m[1], -1) {
				row, err := strconv.Atoi(n[1])
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
