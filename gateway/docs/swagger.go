package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// The part of Swagger 2.0 that protoc-gen-openapiv2 writes and the page shows.
type (
	document struct {
		Tags        []tag                           `json:"tags"`
		Paths       map[string]map[string]operation `json:"paths"`
		Definitions map[string]schema               `json:"definitions"`
	}
	tag struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}
	operation struct {
		ID          string              `json:"operationId"`
		Summary     string              `json:"summary"`
		Description string              `json:"description"`
		Tags        []string            `json:"tags"`
		Parameters  []parameter         `json:"parameters"`
		Responses   map[string]response `json:"responses"`
	}
	parameter struct {
		schema

		Name     string  `json:"name"`
		In       string  `json:"in"`
		Required bool    `json:"required"`
		Body     *schema `json:"schema"`
	}
	response struct {
		Description string  `json:"description"`
		Schema      *schema `json:"schema"`
	}
	schema struct {
		Ref         string     `json:"$ref"`
		Type        string     `json:"type"`
		Format      string     `json:"format"`
		Title       string     `json:"title"`
		Description string     `json:"description"`
		Enum        []string   `json:"enum"`
		Items       *schema    `json:"items"`
		Additional  *valueType `json:"additionalProperties"`
		Properties  properties `json:"properties"`
		Required    []string   `json:"required"`
	}
	// valueType is the schema of a map's values; "true" in JSON is any of them.
	valueType schema
	// properties keeps the order of the contract, which a map would lose.
	properties []property
	property   struct {
		Name   string
		Schema schema
	}
)

// UnmarshalJSON takes a schema or a boolean.
func (v *valueType) UnmarshalJSON(b []byte) error {
	if s := string(b); s == "true" || s == "false" {
		return nil
	}
	return json.Unmarshal(b, (*schema)(v))
}

// UnmarshalJSON reads an object member by member.
func (p *properties) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil { // the opening brace
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := key.(string)
		if !ok {
			return fmt.Errorf("property name %v", key)
		}
		f := property{Name: name}
		if err := d.Decode(&f.Schema); err != nil {
			return fmt.Errorf("property %s: %w", name, err)
		}
		*p = append(*p, f)
	}
	return nil
}

func parse(swagger []byte) (*document, error) {
	var head struct {
		Swagger string `json:"swagger"`
	}
	if err := json.Unmarshal(swagger, &head); err != nil {
		return nil, fmt.Errorf("read openapi: %w", err)
	}
	if head.Swagger != "2.0" {
		return nil, fmt.Errorf("read openapi: version %q, want 2.0", head.Swagger)
	}
	doc := &document{}
	if err := json.Unmarshal(swagger, doc); err != nil {
		return nil, fmt.Errorf("read openapi: %w", err)
	}
	if len(doc.Paths) == 0 {
		return nil, errors.New("read openapi: no paths")
	}
	return doc, nil
}
