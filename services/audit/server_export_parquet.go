package audit

import (
	"io"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// parquetGroup is how many rows lie in memory before they are written.
const parquetGroup = 8192

// parquetRow is an event as a row: the same fields as in the API.
type parquetRow struct {
	Seq            int64           `parquet:"seq,delta"`
	ID             string          `parquet:"id"`
	OccurredAt     time.Time       `parquet:"occurred_at,timestamp(microsecond)"`
	RecordedAt     time.Time       `parquet:"recorded_at,timestamp(microsecond)"`
	Action         string          `parquet:"action,dict"`
	Outcome        string          `parquet:"outcome,dict"`
	ActorType      string          `parquet:"actor_type,dict"`
	ActorID        string          `parquet:"actor_id,dict"`
	SessionID      string          `parquet:"session_id"`
	ImpersonatorID string          `parquet:"impersonator_id,dict"`
	Targets        []parquetTarget `parquet:"targets,list"`
	RequestID      string          `parquet:"request_id"`
	Source         string          `parquet:"source,dict"`
	IPPrefix       string          `parquet:"ip_prefix,dict"`
	Reason         string          `parquet:"reason"`
	Changes        []parquetChange `parquet:"changes,list"`
	Canonical      []byte          `parquet:"canonical"` // the bytes the log has hashed: the file can be proved by itself
}

type parquetTarget struct {
	Type string `parquet:"type,dict"`
	ID   string `parquet:"id"`
}

type parquetChange struct {
	Path   string `parquet:"path,dict"`
	Before string `parquet:"before"`
	After  string `parquet:"after"`
}

type parquetEncoder struct {
	w   *parquet.GenericWriter[parquetRow]
	row [1]parquetRow
}

func newParquetEncoder(w io.Writer) *parquetEncoder {
	return &parquetEncoder{w: parquet.NewGenericWriter[parquetRow](w,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest, Concurrency: 1}), parquet.PageBufferSize(64<<10), parquet.MaxRowsPerRowGroup(parquetGroup), parquet.CreatedBy("manas360 audit", "1", ""))}
}

func (p *parquetEncoder) encode(row found) error {
	ev, err := unpackStored(row.Canonical)
	if err != nil {
		return err
	}
	r := parquetRow{
		Seq: ev.GetSeq(), ID: ev.GetId(), OccurredAt: ev.GetOccurredAt().AsTime(), RecordedAt: ev.GetRecordedAt().AsTime(),
		Action: ev.GetAction(), Outcome: ev.GetOutcome().String(), ActorType: ev.GetActor().GetType(), ActorID: ev.GetActor().GetId(),
		SessionID: ev.GetActor().GetSessionId(), ImpersonatorID: ev.GetActor().GetImpersonatorId(), RequestID: ev.GetRequestId(),
		Source: ev.GetSource(), IPPrefix: ev.GetIpPrefix(), Reason: ev.GetReason(), Canonical: row.Canonical,
	}
	for _, t := range ev.GetTargets() {
		r.Targets = append(r.Targets, parquetTarget{t.GetType(), t.GetId()})
	}
	for _, c := range ev.GetChanges() {
		r.Changes = append(r.Changes, parquetChange{c.GetPath(), c.GetBefore(), c.GetAfter()})
	}
	p.row[0] = r
	_, err = p.w.Write(p.row[:])
	return err
}

func (p *parquetEncoder) end() error { return p.w.Close() }
