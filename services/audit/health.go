package audit

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const maxFindings = 100 // kept; the count goes on

// finding is one thing in the log that is not as it was written.
type finding struct {
	Seq  int64 // 0 when it concerns no one event
	What string
	At   time.Time
}

func (f finding) String() string {
	if f.Seq == 0 {
		return f.What
	}
	return fmt.Sprintf("event %d: %s", f.Seq, f.What)
}

// health is what this process knows about the log's integrity. What was found
// stays until the process starts again: a person must have looked.
type health struct {
	now func() time.Time

	mu       sync.Mutex // guards what follows
	refusal  string     // of the signer
	witness  string     // what the witness refused
	findings []finding
	known    map[string]bool
	position int64 // the rolling verifier stands here
	passes   int64
	passedAt time.Time
	passTook time.Duration

	refusalsN, witnessN, findingsN prometheus.Counter
	verifiedN                      prometheus.Counter
	passG, sizeG, signedG          prometheus.Gauge
}

func newHealth(now func() time.Time) *health {
	count := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	return &health{
		now: now, known: map[string]bool{},
		refusalsN: count("audit_signer_refusals_total", "Heads the signer refused to sign."),
		witnessN:  count("audit_witness_refusals_total", "Checkpoints the witness refused."),
		findingsN: count("audit_verify_findings_total", "Faults the rolling verifier found in the log."),
		verifiedN: count("audit_verify_events_total", "Events the rolling verifier read again."),
		passG:     gauge("audit_verify_pass_seconds", "Time the last whole pass of the rolling verifier took."),
		sizeG:     gauge("audit_log_size", "Events in the log, as the rolling verifier saw it last."),
		signedG:   gauge("audit_checkpoint_signed_seconds", "Unix time of the newest checkpoint this process saw."),
	}
}

func (h *health) register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{h.refusalsN, h.witnessN, h.findingsN, h.verifiedN, h.passG, h.sizeG, h.signedG} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the log's metrics: %w", err)
		}
	}
	return nil
}

func (h *health) refuse(why string) {
	h.refusalsN.Inc()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refusal = why
}

func (h *health) witnessRefuses(why string) {
	h.witnessN.Inc()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.witness = why
}

// found keeps a finding and reports whether it is new.
func (h *health) found(f finding) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known[f.String()] {
		return false
	}
	h.findingsN.Inc()
	if len(h.findings) < maxFindings {
		h.known[f.String()] = true
		h.findings = append(h.findings, f)
	}
	return true
}

// verified counts events of the pass under way.
func (h *health) verified(n int, at int64) {
	h.verifiedN.Add(float64(n))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.position = at
}

func (h *health) passed(size int64, took time.Duration) {
	h.passG.Set(took.Seconds())
	h.sizeG.Set(float64(size))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.passes++
	h.passedAt, h.passTook = h.now(), took
}

// report is a copy of what is known.
type report struct {
	Refusal, Witness string
	Findings         []finding
	Position, Passes int64
	PassedAt         time.Time
	PassTook         time.Duration
}

func (h *health) report() report {
	h.mu.Lock()
	defer h.mu.Unlock()
	return report{
		Refusal: h.refusal, Witness: h.witness, Findings: append([]finding(nil), h.findings...),
		Position: h.position, Passes: h.passes, PassedAt: h.passedAt, PassTook: h.passTook,
	}
}
