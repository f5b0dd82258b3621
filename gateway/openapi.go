package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/manas360/platform/pkg/rpc"
	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
)

type object = map[string]any

// problemSchema is the body of every failure, contract section 1.
var problemSchema = object{
	"type":     "object",
	"required": []string{"type", "title", "status", "detail", "code", "requestId"},
	"properties": object{
		"type":      object{"type": "string", "description": "Where the code is explained."},
		"title":     object{"type": "string"},
		"status":    object{"type": "integer", "format": "int32"},
		"detail":    object{"type": "string", "description": "For a person, in the language of Accept-Language."},
		"code":      object{"type": "string", "description": "Stable, upper snake case."},
		"requestId": object{"type": "string"},
		"errors": object{"type": "array", "items": object{"type": "object", "properties": object{
			"field": object{"type": "string"}, "message": object{"type": "string"},
		}}},
	},
}

// openAPI is the generated document as the edge really answers: its name, the
// status of each success from the method's rule, problem+json for every
// failure, and what a caller must send.
func openAPI(generated []byte) ([]byte, error) {
	var doc object
	if err := json.Unmarshal(generated, &doc); err != nil {
		return nil, fmt.Errorf("parse the generated document: %w", err)
	}
	doc["info"] = object{"title": "Manas360 platform", "version": "v1", "description": "The public API of Manas360. Every failure is application/problem+json with a stable code."}
	doc["basePath"] = "/"
	doc["securityDefinitions"] = object{"bearer": object{"type": "apiKey", "in": "header", "name": "Authorization", "description": "Bearer and an access token."}}
	definitions, ok := doc["definitions"].(object)
	if !ok {
		return nil, errors.New("the generated document has no definitions")
	}
	definitions["Problem"] = problemSchema
	paths, ok := doc["paths"].(object)
	if !ok {
		return nil, errors.New("the generated document has no paths")
	}
	for path, item := range paths {
		methods, ok := item.(object)
		if !ok {
			return nil, fmt.Errorf("%s is no object", path)
		}
		for method, raw := range methods {
			op, ok := raw.(object)
			if !ok {
				return nil, fmt.Errorf("%s %s is no object", method, path)
			}
			if err := describe(op); err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
		}
	}
	prune(definitions, paths)
	out, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode the document: %w", err)
	}
	return out, nil
}

// prune drops the definitions that no operation leads to: the generator's own
// of failures and streams, whose references lead nowhere.
func prune(definitions, paths object) {
	used := map[string]bool{"Problem": true}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case object:
			for key, inner := range v {
				ref, _ := inner.(string)
				if name, ok := strings.CutPrefix(ref, "#/definitions/"); key == "$ref" && ok && !used[name] {
					used[name] = true
					walk(definitions[name])
				}
				walk(inner)
			}
		case []object:
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(paths)
	maps.DeleteFunc(definitions, func(name string, _ any) bool { return !used[name] })
}

// describe completes one operation from the rule of its method.
func describe(op object) error {
	name, _ := op["operationId"].(string)
	rule, err := ruleOf(name)
	if err != nil {
		return err
	}
	responses, ok := op["responses"].(object)
	if !ok {
		return errors.New("no responses")
	}
	if streamed(responses) {
		responses["200"] = object{"description": "The file, in parts. A transfer that breaks off is not whole.", "schema": object{"type": "file"}}
	}
	if status := int(rule.GetSuccessStatus()); status != 0 && status != http.StatusOK {
		success, _ := responses["200"].(object)
		delete(responses, "200")
		if status == http.StatusNoContent {
			delete(success, "schema")
		}
		responses[strconv.Itoa(status)] = success
	}
	responses["default"] = object{"description": "A problem.", "schema": object{"$ref": "#/definitions/Problem"}}
	if !rule.GetPublic() {
		op["security"] = []object{{"bearer": []string{}}}
	}
	if rule.GetIdempotent() {
		parameters, _ := op["parameters"].([]any)
		op["parameters"] = append(parameters, object{
			"name": "Idempotency-Key", "in": "header", "type": "string", "maxLength": 255,
			"description": "Makes the call repeatable for seven days.",
		})
	}
	return nil
}

// streamed reports whether the success is what the generator calls a stream.
func streamed(responses object) bool {
	success, _ := responses["200"].(object)
	schema, _ := success["schema"].(object)
	title, _ := schema["title"].(string)
	return strings.HasPrefix(title, "Stream result of ")
}

// ruleOf finds the rule of "Service_Method", or "Service_Method2" for a second
// path of the same method, among the contracts linked here.
func ruleOf(operation string) (*authzv1.Rule, error) {
	service, method, _ := strings.Cut(strings.TrimRight(operation, "0123456789"), "_")
	for _, reg := range registrations() {
		if reg.service.Name() != protoreflect.Name(service) {
			continue
		}
		if rule, ok := rpc.Rule("/" + string(reg.service.FullName()) + "/" + method); ok {
			return rule, nil
		}
	}
	return nil, fmt.Errorf("no rule for operation %q", operation)
}
