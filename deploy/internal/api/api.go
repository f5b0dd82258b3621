// Package api talks to a running stack as a customer's program would: JSON over
// HTTP, and the messages that would have gone out by mail.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	dialLimit   = 5 * time.Second
	callLimit   = 15 * time.Second
	answerBytes = 1 << 20
	mailLimit   = 10 * time.Second
	mailPause   = 10 * time.Millisecond
)

// Call is one request.
type Call struct {
	Method, URL string
	Token       string            // bearer, if any
	Body        any               // JSON, if any; []byte goes as it is
	Header      map[string]string // beside Content-Type and Authorization, or in their place
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   map[string]any // of a JSON object
	Raw    []byte
	Took   time.Duration
}

// Str digs a string out of the body by keys; empty when it is not there.
func (a Answer) Str(keys ...string) string {
	s, _ := a.Dig(keys...).(string)
	return s
}

// Dig digs a value out of the body by keys; nil when it is not there.
func (a Answer) Dig(keys ...string) any {
	var v any = a.Body
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

// List gives the objects of a list in the body.
func (a Answer) List(key string) []map[string]any {
	all, _ := a.Body[key].([]any)
	out := make([]map[string]any, 0, len(all))
	for _, v := range all {
		m, _ := v.(map[string]any)
		out = append(out, m)
	}
	return out
}

// Client sends calls from one address.
type Client struct {
	HTTP *http.Client
	Seen func(Call, Answer) // told of every answer, if set
	now  func() time.Time
}

// New makes a client with a loopback address of its own, so that the limits by
// address, which count loopback addresses like any other, see another customer.
// Empty is the default address.
func New(from string, now func() time.Time) *Client {
	d := &net.Dialer{Timeout: dialLimit}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	return &Client{HTTP: &http.Client{Timeout: callLimit, Transport: &http.Transport{DialContext: d.DialContext}}, now: now}
}

// Send makes one call. Any status is an answer; an error is no answer.
func (c *Client) Send(ctx context.Context, in Call) (Answer, error) {
	req, err := in.request(ctx)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", in.Method, in.URL, err)
	}
	began := c.now()
	res, err := c.HTTP.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("send: %w", err) // it names the call
	}
	defer func() { _ = res.Body.Close() }() // read to its end below
	raw, err := io.ReadAll(io.LimitReader(res.Body, answerBytes))
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: read the answer: %w", in.Method, in.URL, err)
	}
	a := Answer{Status: res.StatusCode, Header: res.Header, Raw: raw, Took: c.now().Sub(began)}
	if c.Seen != nil {
		c.Seen(in, a)
	}
	if media := res.Header.Get("Content-Type"); len(raw) > 0 && strings.Contains(media, "json") && !strings.Contains(media, "ndjson") {
		if err := json.Unmarshal(raw, &a.Body); err != nil {
			return a, fmt.Errorf("%s %s answered no JSON object: %w", in.Method, in.URL, err)
		}
	}
	return a, nil
}

func (c Call) request(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	switch b := c.Body.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("encode the body: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, c.URL, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if c.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for k, v := range c.Header {
		req.Header.Set(k, v)
	}
	return req, nil
}

// Message is one file of the outgoing messages.
type Message struct {
	To, Channel, Template, Locale, Subject, Text, Code string
}

// Messages is the folder of the messages that would have gone out.
type Messages string

// To gives all messages to an address, the newest first.
func (m Messages) To(to string) ([]Message, error) {
	files, err := filepath.Glob(filepath.Join(string(m), "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	slices.Sort(files)
	slices.Reverse(files)
	var out []Message
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Clean(f))
		if err != nil {
			return nil, fmt.Errorf("read a message: %w", err)
		}
		var one Message
		if json.Unmarshal(raw, &one) == nil && one.To == to { // half written: the next look has it
			out = append(out, one)
		}
	}
	return out, nil
}

// Code waits for a message with a code to an address, and gives the newest.
func (m Messages) Code(ctx context.Context, to string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, mailLimit)
	defer cancel()
	for {
		all, err := m.To(to)
		if err != nil {
			return "", err
		}
		for _, one := range all {
			if one.Code != "" {
				return one.Code, nil
			}
		}
		if err := Pause(ctx, mailPause); err != nil {
			return "", fmt.Errorf("no message with a code for %s came under %s: %w", to, m, err)
		}
	}
}

// Pause waits between two looks, or fails when ctx ends.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
