// Package docs renders the API's OpenAPI document as one HTML page. The page
// holds no script, no inline style and no address outside this origin, so it
// works under "default-src 'none'; style-src 'self'" and without a network.
package docs

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
)

// StylePath is where the page looks for its style sheet.
const StylePath = "/docs/style.css"

//go:embed page.html
var pageHTML string

//go:embed style.css
var styleCSS []byte

// Style returns the style sheet, to be served at StylePath. Do not change it.
func Style() []byte { return styleCSS }

// Page renders a Swagger 2.0 document. Call it once at start: the answer
// depends on nothing but the document and the rules of the linked contracts.
func Page(swagger []byte) ([]byte, error) {
	doc, err := parse(swagger)
	if err != nil {
		return nil, err
	}
	v, err := newView(doc, linkedRules())
	if err != nil {
		return nil, err
	}
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("parse docs template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("render docs: %w", err)
	}
	return out.Bytes(), nil
}
