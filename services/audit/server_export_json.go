package audit

import (
	"bytes"
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"

	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// apiLine writes an event exactly as the API answers it.
func apiLine(to []byte, ev *auditv1.Event) ([]byte, error) {
	n := len(to)
	to, err := protojson.MarshalOptions{EmitDefaultValues: true}.MarshalAppend(to, ev)
	if err != nil {
		return nil, err
	}
	// protojson puts in blanks or not, by the build. A file and its sum must not
	// depend on that. Compact only ever shortens, so it may write where it reads.
	b := bytes.NewBuffer(to[n:n])
	if err := json.Compact(b, to[n:]); err != nil {
		return nil, err
	}
	return append(to[:n], b.Bytes()...), nil
}
