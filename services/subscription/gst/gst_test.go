package gst_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/manas360/platform/services/subscription/gst"
)

func TestInclusiveVectors(t *testing.T) {
	for _, tt := range []struct {
		name       string
		total      int64
		rate       int64
		interState bool
		want       gst.Split
	}{
		{"299 rupees to another state", 29900, gst.StandardRate, true, gst.Split{Taxable: 25339, IGST: 4561}},
		{"299 rupees at home", 29900, gst.StandardRate, false, gst.Split{Taxable: 25339, CGST: 2281, SGST: 2281, RoundOff: -1}},
		{"1,499 rupees at home", 149900, gst.StandardRate, false, gst.Split{Taxable: 127034, CGST: 11433, SGST: 11433}},
		{"exempt", 49900, gst.Rate("exempt_health"), false, gst.Split{Taxable: 49900}},
		{"nothing", 0, gst.StandardRate, false, gst.Split{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := gst.Inclusive(tt.total, tt.rate, tt.interState); got != tt.want {
				t.Errorf("Inclusive(%d) = %+v, want %+v", tt.total, got, tt.want)
			}
		})
	}
	if got, want := gst.Exclusive(10000, gst.StandardRate, false), (gst.Split{Taxable: 10000, CGST: 900, SGST: 900}); got != want {
		t.Errorf("Exclusive(10000) = %+v, want %+v", got, want)
	}
}

func TestInclusiveOfEveryAmount(t *testing.T) {
	for total := range int64(1_000_001) {
		for _, interState := range []bool{false, true} {
			if s := gst.Inclusive(total, gst.StandardRate, interState); !sound(s, total, interState) {
				t.Fatalf("Inclusive(%d, inter-state %t) = %+v", total, interState, s)
			}
		}
	}
}

func TestInclusiveProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(0, 1e13).Draw(t, "total")
		rate := rapid.SampledFrom([]int64{0, 500, 1200, 1800, 2800}).Draw(t, "rate")
		interState := rapid.Bool().Draw(t, "inter-state")
		if s := gst.Inclusive(total, rate, interState); !sound(s, total, interState) {
			t.Fatalf("Inclusive(%d, %d, %t) = %+v", total, rate, interState, s)
		}
	})
}

func sound(s gst.Split, total int64, interState bool) bool {
	return s.Total() == total && s.CGST == s.SGST && s.RoundOff >= -1 && s.RoundOff <= 1 &&
		s.Taxable >= 0 && s.CGST >= 0 && s.IGST >= 0 && (s.CGST == 0 || !interState) && (s.IGST == 0 || interState)
}
