package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

type exportServer struct {
	auditv1.UnimplementedExportServiceServer
	*Service
}

// mediaTypes of the formats.
var mediaTypes = map[string]string{
	"NDJSON": "application/x-ndjson", "OCSF": "application/x-ndjson", "CSV": "text/csv; charset=utf-8", "PARQUET": "application/vnd.apache.parquet",
}

// ExportEvents streams what matches.
func (s *exportServer) ExportEvents(r *auditv1.ExportEventsRequest, out grpc.ServerStreamingServer[auditv1.ExportEventsResponse]) error {
	ctx := out.Context()
	f, format := filterOf(r), strings.ToUpper(r.GetFormat())
	if format == "" {
		format = "NDJSON"
	}
	if err := checkFilter(f); err != nil {
		return err
	}
	head, err := s.size(ctx)
	if err != nil {
		return err
	}
	if err := s.recordCaller(ctx, trail.AuditExport, target{}, append(f.details(), detail{"format", format}, detail{"logSize", head})...); err != nil {
		return err
	}
	send := func(piece []byte) error {
		return out.Send(&auditv1.ExportEventsResponse{Chunk: &httpbody.HttpBody{ContentType: mediaTypes[format], Data: piece}})
	}
	w := newParts(sendBytes, send)
	enc := newEncoder(format, w)
	first := true
	err = s.each(ctx, f, head, func(list []found) error {
		for _, row := range list {
			if err := enc.encode(row); err != nil {
				return err
			}
		}
		if first && w.n == 0 { // whoever asked sees that it works, and of what type it is
			first = false
			return w.flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := enc.end(); err != nil {
		return err
	}
	return w.end()
}

// caller is who calls, for what is his own.
func (s *exportServer) caller(ctx context.Context) (uuid.UUID, error) {
	c, ok := token.FromContext(ctx)
	if !ok || !c.SignedIn() {
		return uuid.Nil, fail.New(fail.Unauthenticated, "sign in first")
	}
	return c.UserID, nil
}

// CreateExport queues an export.
func (s *exportServer) CreateExport(ctx context.Context, r *auditv1.CreateExportRequest) (*auditv1.CreateExportResponse, error) {
	owner, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	x := export{
		ID: s.ids.New(), OwnerID: owner, Format: r.GetFormat().String(), Filters: filterOf(r.GetFilters()), State: exportQueued,
		CreatedAt: s.now().UTC().Truncate(time.Microsecond),
	}
	if mediaTypes[x.Format] == "" {
		return nil, fail.New(fail.InvalidArgument, "the request is invalid").Field("format", "must be NDJSON, CSV, PARQUET or OCSF")
	}
	if err := checkFilter(x.Filters); err != nil {
		return nil, err
	}
	if err := s.recordCaller(ctx, trail.AuditExportCreated, x.about(), x.details()...); err != nil {
		return nil, err
	}
	if err := s.queueExport(ctx, x); err != nil {
		return nil, err
	}
	return &auditv1.CreateExportResponse{Export: wireExport(x)}, nil
}

// ListExports lists the caller's exports.
func (s *exportServer) ListExports(ctx context.Context, r *auditv1.ListExportsRequest) (*auditv1.ListExportsResponse, error) {
	owner, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	query, before := "audit.exports\x00"+owner.String(), uuid.Max
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &before); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.exportsOf(ctx, owner, before, size+1)
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListExportsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, list[size-1].ID)
	}
	for _, x := range list {
		out.Exports = append(out.Exports, wireExport(x))
	}
	return out, nil
}

// own reads the caller's export of that name.
func (s *exportServer) own(ctx context.Context, name string) (export, error) {
	owner, err := s.caller(ctx)
	if err != nil {
		return export{}, err
	}
	missing := fail.New(fail.NotFound, "there is no such export")
	exportID, err := id.Parse("exp", name)
	if err != nil {
		return export{}, missing
	}
	x, ok, err := s.exportOf(ctx, owner, exportID)
	if err == nil && !ok {
		err = missing
	}
	return x, err
}

// GetExport answers one of the caller's exports.
func (s *exportServer) GetExport(ctx context.Context, r *auditv1.GetExportRequest) (*auditv1.GetExportResponse, error) {
	x, err := s.own(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	return &auditv1.GetExportResponse{Export: wireExport(x)}, nil
}

// GetExportFile streams the file of an export that is done.
func (s *exportServer) GetExportFile(r *auditv1.GetExportFileRequest, out grpc.ServerStreamingServer[auditv1.GetExportFileResponse]) error {
	ctx := out.Context()
	x, err := s.own(ctx, r.GetId())
	if err != nil {
		return err
	}
	switch x.State {
	case exportDone:
	case exportQueued, exportRunning:
		return fail.New(fail.Conflict, "the export is not done yet")
	default:
		return fail.New(fail.NotFound, "the export has no file any more")
	}
	if err := s.recordCaller(ctx, trail.AuditExportDownloaded, x.about(), x.manifest()...); err != nil {
		return err
	}
	send := func(piece []byte) error {
		return out.Send(&auditv1.GetExportFileResponse{Chunk: &httpbody.HttpBody{ContentType: mediaTypes[x.Format], Data: piece}})
	}
	if x.Parts == 0 {
		return send(nil)
	}
	for n := range x.Parts {
		piece, ok, err := s.part(ctx, x.ID, n+1)
		if err != nil {
			return err
		}
		if !ok { // cancelled or expired while it was sent
			return fail.New(fail.NotFound, "the export has no file any more")
		}
		for len(piece) > 0 {
			cut := min(len(piece), sendBytes)
			if err := send(piece[:cut]); err != nil {
				return err
			}
			piece = piece[cut:]
		}
	}
	return nil
}

// CancelExport ends an export.
func (s *exportServer) CancelExport(ctx context.Context, r *auditv1.CancelExportRequest) (*auditv1.CancelExportResponse, error) {
	x, err := s.own(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	if x.State != exportQueued && x.State != exportRunning && x.State != exportDone {
		return &auditv1.CancelExportResponse{}, nil
	}
	if err := s.recordCaller(ctx, trail.AuditExportCancelled, x.about()); err != nil {
		return nil, err
	}
	if err := s.cancelExport(ctx, x.ID); err != nil {
		return nil, err
	}
	return &auditv1.CancelExportResponse{}, nil
}

func exportName(exportID uuid.UUID) string { return id.Format("exp", exportID) }

func wireExport(x export) *auditv1.Export {
	out := &auditv1.Export{
		Id: exportName(x.ID), OwnerId: id.Format("usr", x.OwnerID), Format: auditv1.Export_Format(auditv1.Export_Format_value[x.Format]),
		State: auditv1.Export_State(auditv1.Export_State_value[x.State]), RowCount: x.Rows, SizeBytes: x.Bytes, ProgressPercent: x.Progress,
		LogSize: x.LogSize, FirstSeq: x.FirstSeq, LastSeq: x.LastSeq, Sha256: hex.EncodeToString(x.Sum), Checkpoint: x.Checkpoint, Failure: x.Failure,
		CreatedAt: timestamppb.New(x.CreatedAt),
		Filters: &auditv1.EventFilter{
			ActorId: x.Filters.ActorID, Action: x.Filters.Action, ResourceType: x.Filters.ResourceType, ResourceId: x.Filters.ResourceID,
			Outcome: auditv1.Event_Outcome(auditv1.Event_Outcome_value[x.Filters.Outcome]), RequestId: x.Filters.RequestID,
		},
	}
	for _, at := range []struct {
		from time.Time
		to   **timestamppb.Timestamp
	}{
		{x.Filters.Start, &out.Filters.StartTime}, {x.Filters.End, &out.Filters.EndTime}, {valueOf(x.FinishedAt), &out.FinishedAt}, {valueOf(x.ExpiresAt), &out.ExpiresAt},
	} {
		if !at.from.IsZero() {
			*at.to = timestamppb.New(at.from)
		}
	}
	return out
}

func valueOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// newEncoder makes the one of a format that is known.
func newEncoder(format string, w io.Writer) encoder {
	switch format {
	case "NDJSON":
		return &lineEncoder{w: w, line: apiLine}
	case "OCSF":
		return &lineEncoder{w: w, line: ocsfLine}
	case "CSV":
		return newCSVEncoder(w)
	case "PARQUET":
		return newParquetEncoder(w)
	default:
		return unknownFormat{}
	}
}

type unknownFormat struct{}

func (unknownFormat) encode(found) error { return errFormat }
func (unknownFormat) end() error         { return errFormat }

var errFormat = errors.New("no such format")

// lineEncoder writes one event a line.
type lineEncoder struct {
	w    io.Writer
	line func(to []byte, ev *auditv1.Event) ([]byte, error)
	buf  []byte
}

func (l *lineEncoder) encode(row found) error {
	ev, err := unpackStored(row.Canonical)
	if err != nil {
		return err
	}
	if l.buf, err = l.line(l.buf[:0], ev); err != nil {
		return fmt.Errorf("encode event %d: %w", row.Seq, err)
	}
	_, err = l.w.Write(append(l.buf, '\n'))
	return err
}

func (*lineEncoder) end() error { return nil }
