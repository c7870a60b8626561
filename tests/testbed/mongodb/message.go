package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/x/mongo/driver/wiremessage"
)

const (
	headerLength  = 16
	longest       = 48_000_000
	moreToComeBit = 1 << 1
)

// a message of the wire protocol, whole
type message struct {
	raw       []byte
	requestID int32
	opcode    wiremessage.OpCode
}

func readMessage(from io.Reader) (*message, error) {
	header := make([]byte, headerLength)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	length, requestID, _, opcode, _, _ := wiremessage.ReadHeader(header)
	if length < headerLength || length > longest {
		return nil, fmt.Errorf("a message of %d bytes", length)
	}
	raw := make([]byte, length)
	copy(raw, header)
	if _, err := io.ReadFull(from, raw[headerLength:]); err != nil {
		return nil, err
	}
	return &message{raw, requestID, opcode}, nil
}

var errDamaged = errors.New("a damaged message")

// command: the document of an OP_MSG that names the command
func (m *message) command() (bson.Raw, error) {
	_, rest, ok := wiremessage.ReadMsgFlags(m.raw[headerLength:])
	for ok && len(rest) > 0 {
		var kind wiremessage.SectionType
		if kind, rest, ok = wiremessage.ReadMsgSectionType(rest); !ok {
			break
		}
		if kind == wiremessage.SingleDocument {
			document, _, ok := wiremessage.ReadMsgSectionSingleDocument(rest)
			if !ok || bson.Raw(document).Validate() != nil {
				return nil, errDamaged
			}
			return bson.Raw(document), nil
		}
		_, _, rest, ok = wiremessage.ReadMsgSectionRawDocumentSequence(rest)
	}
	return nil, errDamaged
}

// query: what an OP_QUERY asks for, and of which collection
func (m *message) query() (string, bson.Raw, error) {
	_, rest, ok := wiremessage.ReadQueryFlags(m.raw[headerLength:])
	collection := ""
	if ok {
		collection, rest, ok = wiremessage.ReadQueryFullCollectionName(rest)
	}
	if ok && len(rest) > 8 {
		document, _, ok := wiremessage.ReadQueryQuery(rest[8:])
		if ok && bson.Raw(document).Validate() == nil {
			return collection, bson.Raw(document), nil
		}
	}
	return "", nil, errDamaged
}

// takeMoreToCome: whether the client wants no answer; the message wants one afterwards
func (m *message) takeMoreToCome() bool {
	flags := binary.LittleEndian.Uint32(m.raw[headerLength:])
	binary.LittleEndian.PutUint32(m.raw[headerLength:], flags&^moreToComeBit)
	return flags&moreToComeBit != 0
}

func answer(to int32, document bson.Raw) []byte {
	start, raw := wiremessage.AppendHeaderStart(nil, wiremessage.NextRequestID(), to, wiremessage.OpMsg)
	raw = wiremessage.AppendMsgFlags(raw, 0)
	raw = wiremessage.AppendMsgSectionType(raw, wiremessage.SingleDocument)
	return finish(start, append(raw, document...))
}

func answerQuery(to int32, document bson.Raw) []byte {
	start, raw := wiremessage.AppendHeaderStart(nil, wiremessage.NextRequestID(), to, wiremessage.OpReply)
	raw = wiremessage.AppendReplyFlags(raw, 0)
	raw = wiremessage.AppendReplyCursorID(raw, 0)
	raw = wiremessage.AppendReplyStartingFrom(raw, 0)
	raw = wiremessage.AppendReplyNumberReturned(raw, 1)
	return finish(start, append(raw, document...))
}

func finish(start int32, raw []byte) []byte {
	binary.LittleEndian.PutUint32(raw[start:], uint32(len(raw)))
	return raw
}
