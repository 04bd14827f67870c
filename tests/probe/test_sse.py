"""Event streams: the WHATWG rules, whatever the chunks look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.probe.sse import ServerSentEvent, SseParser, StreamTooLarge


def parse(*chunks: bytes) -> list[ServerSentEvent]:
    parser = SseParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(b"data: a\n\n", [ServerSentEvent("a")], id="one_event"),
        pytest.param(b"data:a\r\rdata: b\r\n\r\n", [ServerSentEvent("a"), ServerSentEvent("b")], id="every_line_end"),
        pytest.param(b"data: a\ndata:  b\ndata\n\n", [ServerSentEvent("a\n b\n")], id="multi_line_data"),
        pytest.param(b"event: message\nid: 7\ndata: a\n\n", [ServerSentEvent("a", "message", "7")], id="event_and_id"),
        pytest.param(b"id: 7\ndata:\n\n", [ServerSentEvent("", "message", "7")], id="priming_event"),
        pytest.param(b"id: 7\n\ndata: a\n\n", [ServerSentEvent("a", "message", "7")], id="id_outlives_its_event"),
        pytest.param(b"id: a\0b\ndata: a\n\n", [ServerSentEvent("a")], id="id_with_nul_is_ignored"),
        pytest.param(b": ping\n\n:\n\n", [], id="comments_are_nothing"),
        pytest.param(b"event: x\n\ndata: a\n\n", [ServerSentEvent("a")], id="event_without_data_is_forgotten"),
        pytest.param(b"data: a\n", [], id="unfinished_event_is_dropped"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [ServerSentEvent("a")], id="byte_order_mark"),
        pytest.param(b"data: a\xff\n\n", [ServerSentEvent("a�")], id="not_utf_8"),
        pytest.param(b"colour: red\ndata: a\n\n", [ServerSentEvent("a")], id="unknown_field"),
    ],
)
def test_stream_is_read_as_specified(stream: bytes, expected: list[ServerSentEvent]) -> None:
    assert parse(stream) == expected


@pytest.mark.parametrize(("line", "retry_ms"), [(b"retry: 500", 500), (b"retry: 5s", None), (b"retry: -1", None)])
def test_retry_takes_digits_only(line: bytes, retry_ms: int | None) -> None:
    parser = SseParser()
    parser.feed(line + b"\n\n")
    assert parser.retry_ms == retry_ms


def test_last_event_id_counts_from_the_end_of_its_event() -> None:
    parser = SseParser()
    parser.feed(b"id: 1\ndata: a\n\nid: 2\n")
    assert parser.last_event_id == "1"
    parser.feed(b"\n")
    assert parser.last_event_id == "2"


_LINES = st.sampled_from(["data: é€😀", "data:", "id: 3", "event: e", ": c", "retry: 9", "", "x"])
_ENDS = st.sampled_from(["\n", "\r", "\r\n"])


@given(st.lists(st.tuples(_LINES, _ENDS)), st.data())
def test_chunks_do_not_matter(lines: list[tuple[str, str]], data: st.DataObject) -> None:
    stream = "".join(text + end for text, end in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, split = SseParser(), SseParser()
    assert whole.feed(stream) == [event for chunk in chunks for event in split.feed(chunk)]
    assert (whole.last_event_id, whole.retry_ms) == (split.last_event_id, split.retry_ms)


@given(st.lists(st.binary()))
def test_any_bytes_are_survived(chunks: list[bytes]) -> None:
    parse(*chunks)


@pytest.mark.parametrize("chunk", [b"data: aaaaaaaa", b"data: a\n"])
def test_an_event_is_bounded(chunk: bytes) -> None:
    parser = SseParser(max_event_bytes=30)
    parser.feed(b"data: short\n\n")  # what was dispatched no longer counts
    with pytest.raises(StreamTooLarge):
        list(map(parser.feed, [chunk] * 10))
