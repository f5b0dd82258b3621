package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A segment is a magic line and records: the length of the payload, a CRC-32C of
// length and payload, the payload. A kill leaves half a record at the end at
// worst, which its length or its sum tells.
const (
	segmentMagic  = "manas spool 1\n"
	recordHeader  = 8
	maxRecordSize = 72 << 10 // an event is at most 64 KiB, and its envelope some hundred bytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errTorn   = errors.New("the last record is not whole")
	errRotten = errors.New("a record does not match its sum")
)

func appendRecord(b, payload []byte) []byte {
	length := binary.BigEndian.AppendUint32(nil, uint32(len(payload))) //nolint:gosec // at most maxRecordSize
	sum := crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, payload)
	b = append(b, length...)
	b = binary.BigEndian.AppendUint32(b, sum)
	return append(b, payload...)
}

// nextRecord takes the first record off b. Without an error and without a payload
// there is none left. What follows a bad record is not readable: nothing says
// where it begins.
func nextRecord(b []byte) (payload, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, nil
	}
	if len(b) < recordHeader {
		return nil, nil, errTorn
	}
	n := binary.BigEndian.Uint32(b)
	if n == 0 || n > maxRecordSize {
		return nil, nil, errRotten
	}
	if uint32(len(b)-recordHeader) < n { //nolint:gosec // a segment is small
		return nil, nil, errTorn
	}
	payload = b[recordHeader : recordHeader+n]
	if binary.BigEndian.Uint32(b[4:]) != crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, payload) {
		return nil, nil, errRotten
	}
	return payload, b[recordHeader+n:], nil
}

// wholeRecords measures how much of a segment, its magic included, can be read.
func wholeRecords(segment []byte) (size int64, err error) {
	if !bytes.HasPrefix(segment, []byte(segmentMagic)) {
		return 0, errRotten
	}
	for rest := segment[len(segmentMagic):]; ; {
		size = int64(len(segment) - len(rest))
		var payload []byte
		if payload, rest, err = nextRecord(rest); err != nil || payload == nil {
			return size, err
		}
	}
}
