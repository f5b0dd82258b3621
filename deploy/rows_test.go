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
	// owed is rows that apply and have no test yet, each with what is missing.
	owed map[int]string
}{
	{
		rows: regexp.MustCompile(`\bidentity\.md\s+rows?\s+(\d+(?:(?:,\s*|,?\s+and\s+)\d+)*)`),
		last: 70,
		elsewhere: map[int]string{
			11: "nobody authenticates with a client assertion: there is no such grant",
			20: "no grant takes an access token in exchange for another",
			69: "no hook of an operator adds claims to a token",
		},
		owed: map[int]string{
			3:  "a token two behind is reused even while the clock stands",
			19: "a revocation whose statement fails is told as failed",
			29: "what policy refuses is not counted as a wrong password",
			33: "a flood of logins is refused in part and leaves the rest alone",
			35: "a password of a megabyte is refused unhashed",
			59: "a value in Redis that is another key's is not believed",
		},
	},
}

var (
	lineBreak = regexp.MustCompile(`\n\s*//[ \t]*`)
	number    = regexp.MustCompile(`\d+`)
)

// Every row is named by a test, or stands in one of the two lists and in no
// test: a list that is out of date says less than none.
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
			_, elsewhere := p.elsewhere[row]
			_, owed := p.owed[row]
			switch listed := elsewhere || owed; {
			case elsewhere && owed, named[row] && listed:
				t.Errorf("%v: row %d is listed and has a test, or is listed twice", p.rows, row)
			case !named[row] && !listed:
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
