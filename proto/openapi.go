// Package proto carries the contracts' OpenAPI document for the edge.
package proto

import _ "embed"

// OpenAPI is the Swagger 2.0 document of every public RPC, generated with the
// code beside it.
//
//go:embed gen/openapi/manas360.swagger.json
var OpenAPI []byte
