package money

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// bank is the sandbox as its customers and its keeper see it.
type bank struct {
	url    string
	client *http.Client
}

func newBank(port int) bank {
	return bank{url: "http://127.0.0.1:" + strconv.Itoa(port), client: &http.Client{Timeout: 5 * time.Second}}
}

// misbehave sets how callbacks fare and how long orders live.
func (b bank) misbehave(ctx context.Context, seed uint64) error {
	return b.control(ctx, map[string]any{
		"dropPercent": lost, "duplicatePercent": duplicated, "reorderPercent": reordered, "seed": seed, "lifeMs": orderLife.Milliseconds(),
	})
}

func (b bank) behave(ctx context.Context) error {
	return b.control(ctx, map[string]any{"lifeMs": orderLife.Milliseconds()})
}

func (b bank) control(ctx context.Context, c map[string]any) error {
	status, said, err := b.call(ctx, http.MethodPut, b.url+"/control", c)
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("control the bank: %d %s: %w", status, said, err)
	}
	return nil
}

// complete is what the customer does on the page; state is the order's after.
func (b bank) complete(ctx context.Context, page, outcome string) (state string, err error) {
	status, said, err := b.call(ctx, http.MethodPost, page+"/complete", map[string]any{"outcome": outcome})
	if err != nil {
		return "", err
	}
	var answer struct {
		State string `json:"state"`
	}
	if status != http.StatusOK && status != http.StatusConflict {
		return "", fmt.Errorf("the bank's page answers %d", status)
	}
	if err := json.Unmarshal(said, &answer); err != nil {
		return "", fmt.Errorf("read the bank's answer: %w", err)
	}
	return answer.State, nil
}

func (b bank) call(ctx context.Context, method, url string, in any) (int, []byte, error) {
	raw, err := json.Marshal(in)
	if err != nil {
		return 0, nil, fmt.Errorf("ask the bank: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(raw))
	if err != nil {
		return 0, nil, fmt.Errorf("ask the bank: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := b.client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("ask the bank: %w", err)
	}
	said, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, said, errors.Join(err, res.Body.Close())
}

// movement is a row of the statement.
type movement struct {
	ID              string `json:"id"`
	MerchantOrderID string `json:"merchantOrderId"`
	Kind            string `json:"kind"`
	AmountMinor     int64  `json:"amountMinor,string"`
}

func (b bank) statement(ctx context.Context) ([]movement, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/bank/statement", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask for the statement: %w", err)
	}
	res, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for the statement: %w", err)
	}
	var all []movement
	d := json.NewDecoder(res.Body)
	for {
		var m movement
		if err = d.Decode(&m); err != nil {
			break
		}
		all = append(all, m)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the statement: %w", err)
	}
	return all, nil
}
