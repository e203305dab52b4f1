"""What receivers report and ask for."""

from __future__ import annotations

from testbed.protocol.ntp import ntp_of
from testbed.protocol.rtcp import (
    ApplicationDefined,
    CongestionFeedback,
    GenericNack,
    PictureLossIndication,
    ReceiverReport,
    SenderReport,
    parse_rtcp,
)
from testbed.transports.reports import Reports, twice_the_way_ns

MS = 1_000_000


def test_a_report_goes_out_when_it_is_due_and_something_has_come() -> None:
    reports = Reports(7, interval_ns=100 * MS)
    more = ApplicationDefined(1, b"MORE", b"")
    asked = []

    def own() -> list[ApplicationDefined]:
        asked.append(True)
        return [more]

    reports.report_if_due(now_ns=100 * MS, more=own)
    assert not reports.take()
    assert not asked  # nothing had come: what is the scheme's own waits as well
    reports.on_media(0, 0, now_ns=150 * MS)
    reports.report_if_due(now_ns=199 * MS, more=own)
    assert not reports.take()
    reports.report_if_due(now_ns=200 * MS, more=own)
    (datagram,) = reports.take()
    kinds = [type(message) for message in parse_rtcp(datagram.data)]
    assert kinds == [ReceiverReport, CongestionFeedback, ApplicationDefined]
    assert reports.next_ns == 300 * MS
    assert not reports.take()


def test_requests_are_for_16_bit_numbers_of_the_source() -> None:
    reports = Reports(7, interval_ns=100 * MS)
    reports.request_packets([65_536 + 5, 65_536 + 6])
    reports.request_key()
    nack, key = (parse_rtcp(datagram.data)[0] for datagram in reports.take())
    assert isinstance(nack, GenericNack)
    assert (nack.media_ssrc, nack.lost) == (7, (5, 6))
    assert isinstance(key, PictureLossIndication)
    assert key.media_ssrc == 7


def test_the_way_of_a_sender_report_tells_half_a_round_trip() -> None:
    report = SenderReport(7, ntp_of(1000 * MS), 0, 1, 1)
    found = twice_the_way_ns(report, now_ns=1040 * MS)
    assert found is not None
    assert abs(found - 80 * MS) < 1000
    assert twice_the_way_ns(report, now_ns=1000 * MS) is None
    assert twice_the_way_ns(report, now_ns=999 * MS) is None
    assert twice_the_way_ns(report, now_ns=12_000 * MS) is None
