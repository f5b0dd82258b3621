package money_test

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/money"
)

const most, least = math.MaxInt64, math.MinInt64

func TestEdges(t *testing.T) {
	inr := money.INR
	for name, tt := range map[string]struct {
		do   func() (money.Money, error)
		want int64
		err  error
	}{
		"add":              {func() (money.Money, error) { return inr(1).Add(inr(-3)) }, -2, nil},
		"add nothing":      {func() (money.Money, error) { return inr(most).Add(inr(0)) }, most, nil},
		"add the last":     {func() (money.Money, error) { return inr(most - 1).Add(inr(1)) }, most, nil},
		"add one more":     {func() (money.Money, error) { return inr(most).Add(inr(1)) }, 0, money.ErrOverflow},
		"add one less":     {func() (money.Money, error) { return inr(least).Add(inr(-1)) }, 0, money.ErrOverflow},
		"add dollars":      {func() (money.Money, error) { return inr(1).Add(money.Of(1, "USD")) }, 0, money.ErrCurrency},
		"sub":              {func() (money.Money, error) { return inr(1).Sub(inr(3)) }, -2, nil},
		"sub nothing":      {func() (money.Money, error) { return inr(least).Sub(inr(0)) }, least, nil},
		"sub to the least": {func() (money.Money, error) { return inr(least + 1).Sub(inr(1)) }, least, nil},
		"sub one more":     {func() (money.Money, error) { return inr(least).Sub(inr(1)) }, 0, money.ErrOverflow},
		"sub the least":    {func() (money.Money, error) { return inr(0).Sub(inr(least)) }, 0, money.ErrOverflow},
		"sub below":        {func() (money.Money, error) { return inr(most).Sub(inr(-1)) }, 0, money.ErrOverflow},
		"sub dollars":      {func() (money.Money, error) { return inr(1).Sub(money.Of(1, "USD")) }, 0, money.ErrCurrency},
		"neg":              {inr(5).Neg, -5, nil},
		"neg the least":    {inr(least).Neg, 0, money.ErrOverflow},
		"sum":              {func() (money.Money, error) { return money.Sum("INR", inr(1), inr(2), inr(3)) }, 6, nil},
		"sum of none":      {func() (money.Money, error) { return money.Sum("INR") }, 0, nil},
		"sum too far":      {func() (money.Money, error) { return money.Sum("INR", inr(most), inr(1)) }, 0, money.ErrOverflow},
		"half up":          {func() (money.Money, error) { return inr(1).Fraction(1, 2) }, 1, nil},
		"below half":       {func() (money.Money, error) { return inr(4).Fraction(1, 9) }, 0, nil},
		"half down":        {func() (money.Money, error) { return inr(-1).Fraction(1, 2) }, -1, nil},
		"nearly half":      {func() (money.Money, error) { return inr(49).Fraction(1, 100) }, 0, nil},
		"tax":              {func() (money.Money, error) { return inr(25339).Fraction(1800, money.BasisPoints) }, 4561, nil},
		"all of the least": {func() (money.Money, error) { return inr(least).Fraction(1, 1) }, 0, money.ErrOverflow},
		"all of the most":  {func() (money.Money, error) { return inr(most).Fraction(most, most) }, most, nil},
		"rounds beyond":    {func() (money.Money, error) { return inr(most).Fraction(most, most-1) }, 0, money.ErrOverflow},
		"one bit too much": {func() (money.Money, error) { return inr(1<<62).Fraction(4, 1) }, 0, money.ErrOverflow},
		"twice too much":   {func() (money.Money, error) { return inr(most).Fraction(2, 1) }, 0, money.ErrOverflow},
		"of nothing":       {func() (money.Money, error) { return inr(5).Fraction(0, 7) }, 0, nil},
		"by nothing":       {func() (money.Money, error) { return inr(5).Fraction(1, 0) }, 0, money.ErrWeights},
		"by less":          {func() (money.Money, error) { return inr(5).Fraction(1, -1) }, 0, money.ErrWeights},
		"of less":          {func() (money.Money, error) { return inr(5).Fraction(-1, 1) }, 0, money.ErrWeights},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tt.do()
			if !errors.Is(err, tt.err) || got.Minor != tt.want {
				t.Errorf("got %d, %v; want %d, %v", got.Minor, err, tt.want, tt.err)
			}
			if err == nil && got.Currency != "INR" {
				t.Errorf("got currency %q", got.Currency)
			}
		})
	}
}

func amounts(t *rapid.T, label string) int64 {
	return rapid.OneOf(rapid.Int64(), rapid.Int64Range(-1000, 1000), rapid.SampledFrom([]int64{most, least, most - 1, least + 1, 0})).Draw(t, label)
}

// Against arithmetic that has no ends.
func TestAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := amounts(t, "a"), amounts(t, "b")
		check := func(what string, got money.Money, err error, want *big.Int) {
			if want.IsInt64() != (err == nil) || err == nil && got.Minor != want.Int64() {
				t.Fatalf("%s of %d and %d: got %d, %v; want %s", what, a, b, got.Minor, err, want)
			}
		}
		x, y := big.NewInt(a), big.NewInt(b)
		sum, err := money.INR(a).Add(money.INR(b))
		check("sum", sum, err, new(big.Int).Add(x, y))
		diff, err := money.INR(a).Sub(money.INR(b))
		check("difference", diff, err, new(big.Int).Sub(x, y))

		num, den := rapid.Int64Range(0, most).Draw(t, "num"), rapid.Int64Range(1, most).Draw(t, "den")
		part, err := money.INR(a).Fraction(num, den)
		// |a|·num/den rounded half up, then the sign: floor((2·|a|·num + den) / 2·den).
		want := new(big.Int).Mul(new(big.Int).Abs(x), big.NewInt(num))
		want.Add(want.Lsh(want, 1), big.NewInt(den)).Div(want, new(big.Int).Lsh(big.NewInt(den), 1))
		if a < 0 {
			want.Neg(want)
		}
		if a == least && want.IsInt64() && want.Int64() == least {
			return // its positive does not fit, so it is refused
		}
		check("fraction", part, err, want)
	})
}

// The parts add up; none is a unit or more from its exact share; no weight, no
// money; and equal weights differ by a unit at most.
func TestAllocate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-1000, 1000)).Draw(t, "amount")
		weights := rapid.SliceOfN(rapid.Int64Range(0, 1<<40), 1, 12).Draw(t, "weights")
		var whole int64
		for _, w := range weights {
			whole += w
		}
		parts, err := money.INR(a).Allocate(weights...)
		if whole == 0 {
			if !errors.Is(err, money.ErrWeights) {
				t.Fatalf("got %v", err)
			}
			return
		}
		if a == least && errors.Is(err, money.ErrOverflow) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := new(big.Int)
		for i, p := range parts {
			sum.Add(sum, big.NewInt(p.Minor))
			exact := new(big.Int).Mul(big.NewInt(a), big.NewInt(weights[i]))
			off := exact.Sub(new(big.Int).Mul(big.NewInt(p.Minor), big.NewInt(whole)), exact)
			if off.CmpAbs(big.NewInt(whole)) >= 0 {
				t.Fatalf("part %d of %d by %v is %d: a unit or more off", i, a, weights, p.Minor)
			}
			if weights[i] == 0 && p.Minor != 0 {
				t.Fatalf("no weight got %d", p.Minor)
			}
		}
		if sum.Cmp(big.NewInt(a)) != 0 {
			t.Fatalf("%v of %d by %v", parts, a, weights)
		}
	})
}

func TestAllocateVectors(t *testing.T) {
	for _, tt := range []struct {
		amount  int64
		weights []int64
		want    []int64
	}{
		{100, []int64{60, 40}, []int64{60, 40}},
		{25339, []int64{60, 40}, []int64{15203, 10136}}, // ₹299 net of tax to a therapist and to us: .4 and .6
		{1, []int64{1, 1}, []int64{1, 0}},               // a tie goes to the earlier
		{-1, []int64{1, 1}, []int64{-1, 0}},
		{5, []int64{1, 1, 1}, []int64{2, 2, 1}},
		{2, []int64{1, 3, 3}, []int64{0, 1, 1}},
		{0, []int64{0, 7}, []int64{0, 0}},
		{10, []int64{0, 7}, []int64{0, 10}},
		{least, []int64{1, 1}, []int64{-1 << 62, -1 << 62}},
		{most, []int64{most}, []int64{most}},
	} {
		got, err := money.INR(tt.amount).Allocate(tt.weights...)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range got {
			if p != money.INR(tt.want[i]) {
				t.Errorf("%d by %v: got %v, want %v", tt.amount, tt.weights, got, tt.want)
			}
		}
	}
	for want, weights := range map[error][]int64{
		money.ErrWeights: {1, -1}, money.ErrOverflow: {most, 1},
	} {
		if _, err := money.INR(1).Allocate(weights...); !errors.Is(err, want) {
			t.Errorf("%v: got %v, want %v", weights, err, want)
		}
	}
	if _, err := money.INR(least).Allocate(0, 3); !errors.Is(err, money.ErrOverflow) {
		t.Errorf("all of the least: got %v", err)
	}
	if _, err := money.INR(1).Allocate(); !errors.Is(err, money.ErrWeights) {
		t.Error("allocated to nobody")
	}
}

func TestString(t *testing.T) {
	for want, m := range map[string]money.Money{
		"INR 299.00": money.INR(29900), "INR 0.05": money.INR(5), "INR -0.05": money.INR(-5), "INR 0.00": money.INR(0),
		"JPY 5": money.Of(5, "JPY"), "JPY -500": money.Of(-500, "JPY"), "KWD 1.234": money.Of(1234, "KWD"), "KWD 0.004": money.Of(4, "KWD"),
		"INR -92233720368547758.08": money.INR(least), "USD 10.00": money.Of(1000, "USD"), "0.00": {},
	} {
		if got := m.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
