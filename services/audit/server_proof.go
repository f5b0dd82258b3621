package audit

import (
	"context"
	"errors"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	"github.com/manas360/platform/services/audit/merkle"
)

type proofServer struct {
	auditv1.UnimplementedProofServiceServer
	*Service
}

func (s *proofServer) GetCheckpoint(ctx context.Context, _ *auditv1.GetCheckpointRequest) (*auditv1.GetCheckpointResponse, error) {
	c, err := s.covering(ctx, 1)
	if err != nil {
		return nil, err
	}
	if s.signer.vkey == "" {
		return nil, fail.New(fail.Unavailable, "the log has no key").RetryAfter(signEvery)
	}
	out := &auditv1.GetCheckpointResponse{Note: c.text(), PublicKey: s.signer.vkey}
	if s.witness != nil {
		if _, out.WitnessKey, err = s.witness.key(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *proofServer) GetInclusionProof(ctx context.Context, r *auditv1.GetInclusionProofRequest) (*auditv1.GetInclusionProofResponse, error) {
	eventID, err := id.Parse("evt", r.GetId())
	if err != nil || eventID.Version() != 7 {
		return nil, fail.New(fail.NotFound, "there is no such event")
	}
	seq, leaf, err := s.leaf(ctx, eventID)
	if err != nil {
		return nil, err
	}
	if seq == 0 {
		return nil, fail.New(fail.NotFound, "there is no such event")
	}
	c, err := s.covering(ctx, seq)
	if err != nil {
		return nil, err
	}
	h, err := s.head(ctx)
	if err != nil {
		return nil, err
	}
	hashes, err := merkle.Inclusion(c.tree(), seq-1, tiles(ctx, s.db.Pool, h))
	if err != nil {
		return nil, err //nolint:wrapcheck // says what
	}
	if len(leaf) != merkle.HashSize || tlog.CheckRecord(hashes, c.Size, c.tree().Hash, seq-1, merkle.Hash(leaf)) != nil {
		return nil, s.broken(ctx, finding{Seq: seq, What: "the stored leaf is not the one in the tree"})
	}
	if err := s.recordCaller(ctx, trail.AuditRead, target{Type: "event", ID: r.GetId()}); err != nil {
		return nil, err
	}
	return &auditv1.GetInclusionProofResponse{
		LeafIndex: seq - 1, TreeSize: c.Size, LeafHash: leaf, Hashes: raw(hashes), Checkpoint: c.text(),
	}, nil
}

func (s *proofServer) GetConsistencyProof(ctx context.Context, r *auditv1.GetConsistencyProofRequest) (*auditv1.GetConsistencyProofResponse, error) {
	if r.GetFrom() > r.GetTo() {
		return nil, fail.New(fail.InvalidArgument, "the sizes are out of order").Field("from", "must not be beyond to")
	}
	h, err := s.head(ctx)
	if err != nil {
		return nil, err
	}
	if r.GetTo() > h.Size {
		return nil, fail.New(fail.InvalidArgument, "the log is not that long").Field("to", "must not be beyond the log")
	}
	c, err := s.covering(ctx, r.GetTo())
	if err != nil {
		return nil, err
	}
	if h, err = s.head(ctx); err != nil { // not older than the checkpoint
		return nil, err
	}
	hashes, err := merkle.Consistency(c.tree(), r.GetFrom(), r.GetTo(), tiles(ctx, s.db.Pool, h))
	if errors.Is(err, merkle.ErrRange) {
		return nil, fail.New(fail.InvalidArgument, "the sizes are not in the log").Field("from", "must be 1 or more").Wrap(err)
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // says what
	}
	return &auditv1.GetConsistencyProofResponse{From: r.GetFrom(), To: r.GetTo(), Hashes: raw(hashes)}, nil
}

func (s *proofServer) GetVerification(ctx context.Context, _ *auditv1.GetVerificationRequest) (*auditv1.GetVerificationResponse, error) {
	h, err := s.head(ctx)
	damaged := errors.Is(err, errHead)
	if err != nil && !damaged {
		return nil, err
	}
	known := s.health.report()
	out := &auditv1.GetVerificationResponse{
		State: auditv1.GetVerificationResponse_VERIFYING, Passes: known.Passes, Position: known.Position, LogSize: h.Size,
	}
	if known.Passes > 0 {
		out.State = auditv1.GetVerificationResponse_VERIFIED
		out.PassedAt, out.PassTook = timestamppb.New(known.PassedAt), durationpb.New(known.PassTook)
	}
	if damaged {
		out.Findings = append(out.Findings, err.Error())
	}
	for _, text := range []string{known.Refusal, known.Witness} {
		if text != "" {
			out.Findings = append(out.Findings, text)
		}
	}
	for _, f := range known.Findings {
		out.Findings = append(out.Findings, f.String())
	}
	if len(out.GetFindings()) > 0 {
		out.State = auditv1.GetVerificationResponse_BROKEN
	}
	c, err := newestCheckpoint(ctx, s.db.Pool, newestOfAll)
	if err != nil {
		return nil, err
	}
	seen, err := newestCheckpoint(ctx, s.db.Pool, newestSeen)
	if err != nil {
		return nil, err
	}
	if c != nil {
		out.CheckpointSize = c.Size
	}
	if seen != nil {
		out.WitnessedSize = seen.Size
	}
	return out, nil
}
