"""Requests as raw bytes: what is refused, by which status, and what is not.

Every refusal carries Date and Connection: close, is the only answer on its
connection although another request follows at once (nothing is smuggled), and
can be read to its end. RFC 9112 and the rows of the server page that are named;
where an attack has no row, its name says what it is.
"""

import re
import shutil
import socket
import subprocess

import pytest

from harness import chunked, request

NEXT = request("GET", "/hello")
DATE = r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"


def get(*fields, line="GET /show HTTP/1.1", host="Host: h"):
    lines = [line] + ([host] if host is not None else []) + list(fields)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def post(*fields, body=b"", line="POST /collect HTTP/1.1"):
    return get(*fields, line=line) + body


def coded(size_line, rest=b"hello\r\n0\r\n\r\n"):
    """A chunked request whose first size line is as given."""
    return post("Transfer-Encoding: chunked", body=size_line + rest)


CHUNKED = "Transfer-Encoding: chunked"

REFUSED = {
    # the request line
    "srv_144_no_version": ((400, 505), b"GET /show\r\n\r\n"),
    "srv_144_no_target": (400, get(line="GET HTTP/1.1")),
    "srv_144_nothing_but_a_method": (400, get(line="GET")),
    "srv_144_two_spaces_before_target": (400, get(line="GET  /show HTTP/1.1")),
    "srv_144_two_spaces_after_target": (400, get(line="GET /show  HTTP/1.1")),
    "srv_144_tab_in_request_line": (400, get(line="GET\t/show HTTP/1.1")),
    "srv_144_space_after_version": (400, get(line="GET /show HTTP/1.1 ")),
    "srv_144_space_in_target": (400, get(line="GET /a b HTTP/1.1")),
    "space_before_method": (400, get(line=" GET /show HTTP/1.1")),
    "srv_145_method_no_token": (400, get(line="GE(T /show HTTP/1.1")),
    "srv_145_method_empty": (400, get(line=" /show HTTP/1.1")),
    "srv_146_method_unknown": (501, get(line="FOO /show HTTP/1.1")),
    "srv_146_method_unknown_with_known_beginning":
        (501, get(line="GETS /show HTTP/1.1")),
    "srv_146_method_unknown_long": (501, get(line="ABCDEFGHIJKLMNOPQ /show HTTP/1.1")),
    "srv_146_method_in_lower_case": (501, get(line="get /show HTTP/1.1")),
    "srv_147_version_malformed": (400, get(line="GET /show HTTP/1")),
    "srv_147_version_two_digits": (400, get(line="GET /show HTTP/1.10")),
    "srv_147_version_in_lower_case": (400, get(line="GET /show http/1.1")),
    "srv_147_version_without_point": (400, get(line="GET /show HTTP/11")),
    "srv_147_other_protocol": (400, get(line="GET /show HTCPCP/1.0")),
    "srv_148_version_0_9": (505, get(line="GET /show HTTP/0.9")),
    "srv_148_version_2_0": (505, get(line="GET /show HTTP/2.0")),
    "srv_148_version_3_0": (505, get(line="GET /show HTTP/3.0")),
    "srv_149_version_1_2": (505, get(line="GET /show HTTP/1.2")),
    "ice_version": (400, get(line="GET /show ICE/1.0")),
    "ice_source": ((400, 501), get(line="SOURCE /show ICE/1.0")),
    "rtsp_version": ((400, 501), get(line="DESCRIBE rtsp://h/x RTSP/1.0")),
    "rtsp_options": (400, get(line="OPTIONS * RTSP/1.0")),
    "rtsp_method_as_http": (501, get(line="DESCRIBE /show HTTP/1.1")),
    "srv_105_150_http2_preface": ((400, 501, 505), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "tls_hello": (400, b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\r\n\r\n"),

    # the target
    "fragment_in_target": (400, get(line="GET /show#x HTTP/1.1")),
    "srv_171_asterisk_with_get": (400, get(line="GET * HTTP/1.1")),
    "srv_171_asterisk_with_post": (400, post(line="POST * HTTP/1.1")),
    "srv_159_target_without_slash": (400, get(line="GET show HTTP/1.1")),
    "srv_159_control_byte_in_target": (400, get(line="GET /\x01 HTTP/1.1")),
    "srv_159_nul_in_target": (400, get(line="GET /a\0b HTTP/1.1")),
    "srv_159_delete_in_target": (400, get(line="GET /a\x7fb HTTP/1.1")),
    "absolute_target_without_host": (400, get(line="GET http:///x HTTP/1.1")),
    "absolute_target_with_port_only":
        (400, get(line="GET http://:80/ HTTP/1.1")),
    "absolute_target_with_bad_port":
        (400, get(line="GET http://h:8x/ HTTP/1.1")),
    "absolute_target_with_bad_escape":
        (400, get(line="GET http://h/%zz HTTP/1.1")),
    "absolute_target_with_bad_escape_in_host":
        (400, get(line="GET http://%zz/ HTTP/1.1")),
    "connect_with_path": (400, get(line="CONNECT /show HTTP/1.1")),
    "connect_without_port": (400, get(line="CONNECT h HTTP/1.1")),
    "connect_with_empty_port": (400, get(line="CONNECT h: HTTP/1.1")),
    "path_with_escape_of_no_hex": (400, get(line="GET /show/%zz HTTP/1.1")),
    "path_with_escape_half_hex": (400, get(line="GET /show/%4g HTTP/1.1")),
    "path_with_escape_cut": (400, get(line="GET /show/%4 HTTP/1.1")),
    "path_with_percent_at_the_end": (400, get(line="GET /show/% HTTP/1.1")),
    "path_with_escape_cut_by_query":
        (400, get(line="GET /show/%4?a=b HTTP/1.1")),
    "path_with_second_escape_broken":
        (400, get(line="GET /show/%41%4z HTTP/1.1")),

    # Host
    "srv_151_no_host": (400, get(host=None)),
    "srv_153_two_hosts": (400, get("Host: h")),
    "srv_153_two_hosts_1_0": (400, get("Host: h", line="GET /show HTTP/1.0")),
    "srv_153_two_different_hosts": (400, get("Host: other")),
    "srv_154_host_with_space": (400, get(host="Host: a b")),
    "srv_154_host_with_brace": (400, get(host="Host: {h}")),
    "srv_154_host_with_high_byte": (400, get(host="Host: h\xe9")),
    "srv_154_host_with_control_byte": (400, get(host="Host: h\x01")),
    "srv_154_bad_host_1_0":
        (400, get(host="Host: {h}", line="GET /show HTTP/1.0")),
    "host_with_path": (400, get(host="Host: h/path")),
    "host_with_query": (400, get(host="Host: h?x")),
    "host_with_user": (400, get(host="Host: user@h")),
    "host_with_port_of_letters": (400, get(host="Host: h:http")),
    "host_with_port_signed": (400, get(host="Host: h:+80")),
    "host_with_two_ports": (400, get(host="Host: h:80:80")),
    "host_with_port_only": (400, get(host="Host: :80")),
    "srv_155_host_v6_without_brackets": (400, get(host="Host: ::1")),
    "host_v6_not_closed": (400, get(host="Host: [::1")),
    "host_v6_not_opened": (400, get(host="Host: ::1]")),
    "host_v6_empty": (400, get(host="Host: []")),
    "host_v6_no_hex": (400, get(host="Host: [::g]")),
    "host_v6_too_short": (400, get(host="Host: [1:2:3]")),
    "host_v6_too_long": (400, get(host="Host: [1:2:3:4:5:6:7:8:9]")),
    "host_v6_five_digits": (400, get(host="Host: [12345::]")),
    "host_v6_two_gaps": (400, get(host="Host: [1::2::3]")),
    "host_v6_endless": (400, get(host="Host: [" + 60 * "1" + "]")),
    "host_v6_and_more": (400, get(host="Host: [::1]x")),
    "host_v6_port_of_letters": (400, get(host="Host: [::1]:x")),
    "host_v6_bare_zone": (400, get(host="Host: [fe80::1%en0]")),
    "host_v6_empty_zone": (400, get(host="Host: [fe80::1%25]")),
    "host_v4_in_brackets": (400, get(host="Host: [127.0.0.1]")),
    "host_of_the_future_without_version": (400, get(host="Host: [v.x]")),
    "host_of_the_future_without_address": (400, get(host="Host: [v1.]")),
    "host_of_the_future_without_point": (400, get(host="Host: [v1]")),
    "host_with_bracket": (400, get(host="Host: a[b]c")),
    "host_with_escape_of_no_hex": (400, get(host="Host: a%zzb")),
    "host_with_escape_cut": (400, get(host="Host: a%4")),

    # header lines
    "srv_165_bare_lf_after_request_line":
        (400, b"GET /show HTTP/1.1\nHost: h\r\n\r\n"),
    "srv_165_bare_lf_after_field": (400, b"GET /show HTTP/1.1\r\nHost: h\n\r\n"),
    "srv_165_bare_lf_between_fields":
        (400, b"GET /show HTTP/1.1\r\nHost: h\r\nA: b\nC: d\r\n\r\n"),
    "srv_165_bare_lf_at_the_end": (400, b"GET /show HTTP/1.1\r\nHost: h\r\n\n"),
    "srv_165_bare_lf_everywhere": (400, b"GET /show HTTP/1.1\nHost: h\n\n"),
    "bare_cr_in_value": (400, get("A: b\rC: d")),
    "bare_cr_after_request_line":
        (400, b"GET /show HTTP/1.1\rHost: h\r\n\r\n"),
    "cr_cr_lf": (400, b"GET /show HTTP/1.1\r\nHost: h\r\r\n\r\n"),
    "srv_164_folded_line": (400, get("A: b\r\n c")),
    "srv_164_folded_line_with_tab": (400, get("A: b\r\n\tc")),
    "srv_164_folded_line_before_content_length":
        (400, post("A: b\r\n c", "Content-Length: 5", body=b"hello")),
    "srv_164_folded_line_right_before_content_length":
        (400, post("A:\r\n Content-Length: 5", body=b"hello")),
    "srv_164_folded_content_length":
        (400, post("Content-Length:\r\n 5", body=b"hello")),
    "srv_164_folded_continued_content_length":
        (400, post("Content-Length: 1\r\n 0", body=b"hello")),
    "srv_164_folded_transfer_encoding":
        (400, post("Transfer-Encoding:\r\n chunked", body=chunked(b"a"))),
    "srv_164_folded_host": (400, get(host="Host:\r\n h")),
    "srv_164_folded_empty_line": (400, get("A: b\r\n ")),
    "srv_163_first_line_begins_with_space":
        (400, get(host=" Host: h")),
    "srv_163_first_line_is_space": (400, get(host=" \r\nHost: h")),
    "srv_160_empty_name": (400, get(": x")),
    "srv_160_empty_name_before_content_length":
        (400, post(": x", "Content-Length: 5", body=b"hello")),
    "srv_160_space_before_colon": (400, get("A : b")),
    "srv_160_tab_before_colon": (400, get("A\t: b")),
    "srv_160_space_before_colon_of_content_length":
        (400, post("Content-Length : 5", body=b"hello")),
    "srv_160_space_before_colon_of_transfer_encoding":
        (400, post("Transfer-Encoding : chunked", body=chunked(b"a"))),
    "srv_160_space_in_name": (400, get("A b: c")),
    "srv_160_high_byte_in_name": (400, get("A\xe9: b")),
    "srv_160_nul_in_name": (400, get("A\0: b")),
    "srv_160_bracket_in_name": (400, get("A(b: c")),
    "srv_161_nul_in_value": (400, get("A: b\0c")),
    "srv_161_delete_in_value": (400, get("A: b\x7fc")),
    "srv_161_control_byte_in_value": (400, get("A: b\x01c")),
    "srv_161_vertical_tab_in_value": (400, get("A: b\x0bc")),
    "srv_162_no_colon": (400, get("Nothing")),
    "srv_162_no_colon_before_end": (400, get("A: b", "Nothing", "C: d")),

    # framing
    "srv_103_182_content_length_and_chunked":
        (400, post("Content-Length: 5", CHUNKED, body=chunked(b"hello"))),
    "srv_103_182_chunked_and_content_length":
        (400, post(CHUNKED, "Content-Length: 5", body=chunked(b"hello"))),
    "srv_175_content_length_empty": (400, post("Content-Length:")),
    "srv_175_content_length_plus":
        (400, post("Content-Length: +5", body=b"hello")),
    "srv_175_content_length_minus": (400, post("Content-Length: -5")),
    "srv_175_content_length_hex":
        (400, post("Content-Length: 0x5", body=b"hello")),
    "srv_175_content_length_words":
        (400, post("Content-Length: 5 5", body=b"hello")),
    "srv_175_content_length_list":
        (400, post("Content-Length: 5, 5", body=b"hello")),
    "srv_175_content_length_list_of_two":
        (400, post("Content-Length: 5, 6", body=b"hello")),
    "srv_175_content_length_too_large":
        (400, post("Content-Length: 18446744073709551621", body=b"hello")),
    "srv_175_content_length_of_64_bits":
        (400, post("Content-Length: 18446744073709551615", body=b"hello")),
    "srv_175_content_length_of_63_bits_and_1":
        (400, post("Content-Length: 9223372036854775808", body=b"hello")),
    "srv_176_content_length_of_63_bits":
        (413, post("Content-Length: 9223372036854775807", body=b"hello")),
    "srv_175_content_length_decimal":
        (400, post("Content-Length: 5.0", body=b"hello")),
    "srv_177_content_lengths_differ":
        (400, post("Content-Length: 5", "Content-Length: 6", body=b"hello!")),
    "srv_177_content_lengths_alike":
        (400, post("Content-Length: 5", "Content-Length: 5", body=b"hello")),
    "srv_178_bad_content_length_with_chunked":
        (400, post("Content-Length: x", CHUNKED, body=chunked(b"hello"))),
    "srv_180_gzip_chunked":
        (501, post("Transfer-Encoding: gzip, chunked", body=chunked(b"a"))),
    "srv_180_gzip": ((400, 501), post("Transfer-Encoding: gzip")),
    "srv_180_identity": ((400, 501), post("Transfer-Encoding: identity")),
    "srv_180_chunked_twice":
        ((400, 501),
         post("Transfer-Encoding: chunked, chunked", body=chunked(b"a"))),
    "srv_180_two_lines":
        ((400, 501), post(CHUNKED, CHUNKED, body=chunked(b"a"))),
    "srv_180_two_lines_gzip_first":
        ((400, 501),
         post("Transfer-Encoding: gzip", CHUNKED, body=chunked(b"a"))),
    "srv_180_not_quite_chunked":
        ((400, 501), post("Transfer-Encoding: xchunked", body=chunked(b"a"))),
    "srv_180_chunked_with_more":
        ((400, 501), post("Transfer-Encoding: chunkedx", body=chunked(b"a"))),
    "srv_180_quoted":
        ((400, 501),
         post('Transfer-Encoding: "chunked"', body=chunked(b"a"))),
    "srv_180_chunked_not_last":
        ((400, 501),
         post("Transfer-Encoding: chunked, gzip", body=chunked(b"a"))),
    "srv_180_empty": ((400, 501), post("Transfer-Encoding:")),
    "srv_181_control_byte":
        (400, post("Transfer-Encoding: \x0bchunked", body=chunked(b"a"))),
    "srv_104_transfer_encoding_in_1_0":
        (400, post(CHUNKED, body=chunked(b"hello"),
                   line="POST /collect HTTP/1.0")),
    "srv_190_trailer_names_content_length":
        (400, post(CHUNKED, "Trailer: A, content-length",
                   body=chunked(b"hello"))),
    "srv_190_trailer_names_transfer_encoding":
        (400, post("Trailer: Transfer-Encoding", CHUNKED,
                   body=chunked(b"hello"))),
    "srv_190_trailer_names_trailer":
        (400, post(CHUNKED, "Trailer: A", "Trailer: Trailer ,B",
                   body=chunked(b"hello"))),

    # the first chunk of a body that is collected before it is answered
    "srv_184_chunk_size_no_hex": (400, coded(b"g\r\n")),
    "srv_184_chunk_size_empty": (400, coded(b"\r\n")),
    "srv_184_chunk_size_signed": (400, coded(b"+5\r\n")),
    "srv_184_chunk_size_minus": (400, coded(b"-5\r\n")),
    "srv_184_chunk_size_prefixed": (400, coded(b"0x5\r\n")),
    "srv_184_chunk_size_17_digits": (400, coded(b"10000000000000005\r\n")),
    "srv_184_chunk_size_leading_space": (400, coded(b" 5\r\n")),
    "srv_184_chunk_size_comma": (400, coded(b"5,\r\n")),
    "srv_183_chunk_size_bare_lf": (400, coded(b"5\n")),
    "srv_183_chunk_size_bare_cr": (400, coded(b"5\r")),
    "srv_183_chunk_extension_bare_lf": (400, coded(b"5;a\n")),
    "srv_183_chunk_extension_bare_cr": (400, coded(b"5;a\r;b\r\n")),
    "srv_185_chunk_extension_empty": (400, coded(b"5;\r\n")),
    "srv_185_chunk_extension_without_name": (400, coded(b"5;=b\r\n")),
    "chunk_extension_without_name_between": (400, coded(b"5;;a\r\n")),
    "chunk_extension_without_value": (400, coded(b"5;a=\r\n")),
    "chunk_extension_name_no_token": (400, coded(b"5;a(=b\r\n")),
    "chunk_extension_value_no_token": (400, coded(b"5;a=b,c\r\n")),
    "chunk_extension_value_half_quoted": (400, coded(b'5;a=b"c"\r\n')),
    "chunk_extension_quotes_and_more": (400, coded(b'5;a="b"c\r\n')),
    "chunk_extension_quotes_not_closed": (400, coded(b'5;a="b\r\n')),
    "chunk_extension_nul": (400, coded(b"5;a\0\r\n")),
    "chunk_extension_control_byte": (400, coded(b"5;a=b\x01\r\n")),
    "chunk_extension_control_byte_in_quotes":
        (400, coded(b'5;a="b\x01"\r\n')),
    "chunk_extension_delete_in_quotes": (400, coded(b'5;a="b\x7f"\r\n')),
    "chunk_extension_high_byte": (400, coded(b"5;a\xe9\r\n")),
    "chunk_extension_of_the_last_chunk":
        (400, coded(b"5\r\n", b"hello\r\n0;a=\r\n\r\n")),
    "srv_183_chunk_too_long": (400, coded(b"3\r\n")),
    "srv_183_chunk_end_missing": (400, coded(b"5\r\n", b"hello0\r\n\r\n")),
    "srv_183_chunk_end_bare_lf": (400, coded(b"5\r\n", b"hello\n0\r\n\r\n")),
    "srv_191_trailer_no_colon":
        (400, coded(b"5\r\n", b"hello\r\n0\r\nNothing\r\n\r\n")),
    "srv_191_trailer_bare_lf":
        (400, coded(b"5\r\n", b"hello\r\n0\r\nA: b\n\r\n")),
    "srv_191_trailer_folded":
        (400, coded(b"5\r\n", b"hello\r\n0\r\nA: b\r\n c\r\n\r\n")),
    "srv_191_trailer_empty_name":
        (400, coded(b"5\r\n", b"hello\r\n0\r\n: b\r\n\r\n")),
    "srv_191_trailer_space_before_colon":
        (400, coded(b"5\r\n", b"hello\r\n0\r\nA : b\r\n\r\n")),
}


def send_whole(conn, data):
    conn.send(data)


def send_bytes(conn, data):
    """A byte a packet, as far as the kernel lets it."""
    conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for i in range(len(data)):
            conn.send(data[i:i + 1])
    except (BrokenPipeError, ConnectionResetError):
        pass  # the answer came, and the end after it, before we were done


# SRV-138, SRV-139, SRV-142, SRV-143
@pytest.mark.parametrize("deliver", [send_whole, send_bytes])
@pytest.mark.parametrize("status, data", REFUSED.values(), ids=REFUSED.keys())
def test_refused(shared_lab, status, data, deliver):
    with shared_lab.connect() as conn:
        deliver(conn, data + NEXT)
        response = conn.response()
        allowed = status if isinstance(status, tuple) else (status,)
        assert response.status in allowed, response
        assert response.closes, response
        assert re.fullmatch(DATE, response.get("Date") or ""), response
        assert response.version == "HTTP/1.1"
        assert response.get("Content-Type") == "text/plain; charset=utf-8"
        text = f"{response.status} {response.reason}\n"
        assert response.body == text.encode()
        assert conn.end() == "eof"
        assert conn.buffer == b"", "a second answer: smuggled"


ACCEPTED = {
    "plain": (get(), "method GET"),
    "srv_112_empty_lines_first": (b"\r\n\r\n\n" + get(), "method GET"),
    "srv_152_host_empty": (get(host="Host:"), "host "),
    "srv_155_host_with_port": (get(host="Host: h:80"), "host h:80"),
    "srv_155_host_address": (get(host="Host: 127.0.0.1"), "host 127.0.0.1"),
    "srv_155_host_v6": (get(host="Host: [::1]:80"), "host [::1]:80"),
    "srv_155_host_underscore": (get(host="Host: a_b.c"), "host a_b.c"),
    "srv_155_host_v6_zone":
        (get(host="Host: [fe80::1%25en0]:80"), "host [fe80::1%25en0]:80"),
    "host_v6_with_v4": (get(host="Host: [::ffff:127.0.0.1]"),
                        "host [::ffff:127.0.0.1]"),
    "host_v6_whole": (get(host="Host: [2001:db8:0:1:2:3:4:ABCD]"),
                      "host [2001:db8:0:1:2:3:4:ABCD]"),
    "host_of_the_future": (get(host="Host: [v1F.a:b]:80"),
                           "host [v1F.a:b]:80"),
    "host_with_empty_port": (get(host="Host: h:"), "host h:"),
    "host_of_all_characters": (get(host="Host: aZ09-._~!$&'()*+,;=%2F"),
                               "host aZ09-._~!$&'()*+,;=%2F"),
    "srv_156_1_0_without_host":
        (get(line="GET /show HTTP/1.0", host=None), "minor 0"),
    "srv_157_absolute_target":
        (get(line="GET http://other:1/show?x=1 HTTP/1.1"), "host other:1"),
    "srv_157_absolute_target_path":
        (get(line="GET http://other/show?x=1 HTTP/1.1"), "path /show"),
    "absolute_target_v6":
        (get(line="GET http://[::1]:80/show HTTP/1.1"), "host [::1]:80"),
    "srv_161_tab_in_value": (get("X-Test: a\tb"), "x-test a\tb"),
    "srv_161_high_byte_in_value": (get("X-Test: \xe9"), "x-test \xe9"),
    "srv_166_white_space_around_value":
        (get("X-Test: \t  a b \t "), "x-test a b"),
    "srv_166_no_white_space": (get("X-Test:a"), "x-test a"),
    "srv_166_empty_value": (get("X-Test:"), "x-test "),
    "srv_166_blank_value": (get("X-Test:  "), "x-test "),
    "srv_167_name_in_any_case": (get("X-tESt: a"), "x-test a"),
    "name_of_all_token_characters":
        (get("!#$%&'*+-.^_`|~9aZ: a"), "field !#$%&'*+-.^_`|~9aZ=a"),
    "empty_query": (get(line="GET /show? HTTP/1.1"), "query "),
    "query_kept": (get(line="GET /show?a=b&c HTTP/1.1"), "query a=b&c"),
    "query_decoded": (get(line="GET /show?x=a+b%21 HTTP/1.1"), "x a b!"),
    "query_bad_escape":
        (get(line="GET /show?x=%zz HTTP/1.1"), "x invalid argument"),
    "query_of_any_escapes":
        (get(line="GET /show?% HTTP/1.1"), "query %"),
    "path_kept": (get(line="GET /show/a%20b HTTP/1.1"), "path /show/a%20b"),
    "path_decoded":
        (get(line="GET /show/a%20b HTTP/1.1"), "decoded /show/a b"),
    "path_decoded_no_plus":
        (get(line="GET /show/a+b HTTP/1.1"), "decoded /show/a+b"),
    "path_with_nul_escape":
        (get(line="GET /show/%00 HTTP/1.1"), "decoded invalid argument"),
    "mux_decodes": (get(line="GET /%73how HTTP/1.1"), "target /%73how"),
    "srv_172_no_body": (post(line="POST /show HTTP/1.1"), "length 0"),
    "srv_173_length":
        (post("Content-Length: 5", body=b"hello", line="POST /show HTTP/1.1"),
         "length 5"),
    "srv_173_length_with_zeros":
        (post("Content-Length: 005", body=b"hello", line="POST /show HTTP/1.1"),
         "length 5"),
    "srv_179_chunked":
        (post("transfer-encoding: CHUNKED", body=chunked(b"hello"),
              line="POST /show HTTP/1.1"), "length unknown"),
    "srv_190_trailer_of_no_chunks":
        (get("Trailer: Content-Length"), "length 0"),
    "known_method": (get(line="PATCH /show HTTP/1.1"), "method PATCH"),
}


@pytest.mark.parametrize("deliver", [send_whole, send_bytes])
@pytest.mark.parametrize("data, line", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(shared_lab, data, line, deliver):
    with shared_lab.connect() as conn:
        deliver(conn, data + request("GET", "/hello", close=True))
        response = conn.response()
        assert response.status == 200, response
        assert line in response.body.decode("latin-1").split("\n")
        if response.closes:
            return  # HTTP/1.0, or a body that wasn't read
        if b"HTTP/1.0" not in data:
            assert conn.response().body == b"hello\n"
        assert conn.end() == "eof"


ECHOED = {
    "one_chunk": (coded(b"5\r\n"), b"hello"),
    "srv_184_upper_case": (coded(b"A\r\n", b"0123456789\r\n0\r\n\r\n"),
                           b"0123456789"),
    "srv_184_leading_zeros": (coded(b"00005\r\n"), b"hello"),
    "srv_185_extension": (coded(b"5;a=b\r\n"), b"hello"),
    "srv_185_extension_without_value": (coded(b"5;a\r\n"), b"hello"),
    "srv_185_extension_of_token_characters":
        (coded(b"5;!#$%&'*+-.^_`|~9aZ=!#$%&'*+-.^_`|~9aZ\r\n"), b"hello"),
    "srv_185_extension_of_the_last_chunk":
        (coded(b"5\r\n", b"hello\r\n0;a=b\r\n\r\n"), b"hello"),
    "srv_185_extension_quoted_high_byte": (coded(b'5;a="\xe9\t"\r\n'), b"hello"),
    "srv_185_extensions":
        (coded(b'5;a="b";c;d="";e=f\r\n'), b"hello"),
    "srv_186_long_extension":
        (coded(b"5;" + b"a" * 5000 + b"\r\n"), b"hello"),
    "srv_185_extension_quoted": (coded(b'5;a="b;c"\r\n'), b"hello"),
    "empty": (post(CHUNKED, body=chunked()), b""),
    "several_chunks": (post(CHUNKED, body=chunked(b"he", b"l", b"lo")),
                       b"hello"),
    "trailer": (coded(b"5\r\n", b"hello\r\n0\r\nA: b\r\nC: d\r\n\r\n"),
                b"hello"),
    "body_like_a_request": (post("Content-Length: %d" % len(NEXT), body=NEXT),
                            NEXT),
}


@pytest.mark.parametrize("deliver", [send_whole, send_bytes])
@pytest.mark.parametrize("data, body", ECHOED.values(), ids=ECHOED.keys())
def test_body_is_read(shared_lab, data, body, deliver):
    with shared_lab.connect() as conn:
        deliver(conn, data + NEXT)
        response = conn.response()
        assert (response.status, response.body) == (200, body)
        assert conn.response().body == b"hello\n"


ALLOWED = {
    "tab_behind_content_length": post("Content-Length: 5\t", body=b"hello"),
    "tab_behind_chunked":
        post("Transfer-Encoding: chunked\t", body=chunked(b"hello")),
    "srv_184_blank_behind_chunk_size": coded(b"5 \r\n"),
    "blanks_in_chunk_extension": coded(b"5 ; a = b\r\n"),
    "chunk_extension_with_quoted_pair": coded(b'5;a="\\""\r\n'),
    "chunk_extension_behind_a_token": coded(b"5;a=b;c\r\n"),
}


@pytest.mark.parametrize("deliver", [send_whole, send_bytes])
@pytest.mark.parametrize("data", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_llhttp_may_refuse_is_refused_or_read(shared_lab, data, deliver):
    """By RFC 9112 all of it is good; which it is depends on the release."""
    with shared_lab.connect() as conn:
        deliver(conn, data + NEXT)
        response = conn.response()
        if response.status == 200:
            assert response.body == b"hello"
            assert conn.response().body == b"hello\n"
        else:
            assert response.status in (400, 501)
            assert conn.end() == "eof"
            assert conn.buffer == b""


def test_srv_158_168_fields_keep_their_order(shared_lab):
    """Also those of one name; and Host is one of them."""
    with shared_lab.connect() as conn:
        body = conn.send(get("X-Test: 1", "A: b", "x-test: 2")).response().body
        lines = body.decode().split("\n")
        assert "x-test 1" in lines
        assert [line for line in lines if line.startswith("field ")] == [
            "field Host=h", "field X-Test=1", "field A=b", "field x-test=2"]


def test_srv_015_handler_sees_the_peers_address(shared_lab):
    with shared_lab.connect() as conn:
        body = conn.send(get()).response().body.decode()
        assert "peer 127.0.0.1:%d\n" % conn.sock.getsockname()[1] in body


def test_srv_169_options_asterisk_is_answered(shared_duskd):
    with shared_duskd.connect() as conn:
        conn.send(get(line="OPTIONS * HTTP/1.1"))
        response = conn.response()
        assert (response.status, response.get("Content-Length")) == (200, "0")
        assert conn.get().status == 200


def test_srv_141_end_in_the_middle_of_a_header(shared_lab):
    for data in (b"GET", b"GET /show HTTP/1.1\r\n", get()[:-2]):
        with shared_lab.connect() as conn:
            conn.send(data).sock.shutdown(socket.SHUT_WR)
            assert conn.response().status == 400
            assert conn.end() == "eof"


def test_srv_140_end_without_a_byte_is_no_request(shared_lab):
    with shared_lab.connect() as conn:
        conn.sock.shutdown(socket.SHUT_WR)
        assert conn.end() == "eof"
        assert conn.buffer == b""


@pytest.mark.parametrize("line, fields", [
    ("GET /hello HTTP/1.1", ["Connection: close\t"]),
    ("GET /hello HTTP/1.1", ["Connection: \tclose \t"]),
    ("GET /hello HTTP/1.1", ["Connection: x\t,\tCLOSE\t, y"]),
    ("GET /hello HTTP/1.1", ["Connection: keep-alive", "Connection: close"]),
    ("GET /hello HTTP/1.0", ["Connection: keep-alive, close"]),
    ("GET /hello HTTP/1.0", ["Connection: close, keep-alive"]),
    ("GET /hello HTTP/1.0", ["Connection: keep-alive", "Connection: close"]),
    ("GET /hello HTTP/1.0", ["Connection: close\t", "Connection: keep-alive"]),
])
@pytest.mark.parametrize("deliver", [send_whole, send_bytes])
def test_srv_084_close_among_others_closes(shared_lab, line, fields, deliver):
    with shared_lab.connect() as conn:
        deliver(conn, get(*fields, line=line) + NEXT)
        assert conn.response().body == b"hello\n"
        assert conn.end() == "eof"
        assert conn.buffer == b""


@pytest.mark.parametrize("value", ["closed", "not-close", 'close="x"'])
def test_what_only_looks_like_close_keeps(shared_lab, value):
    with shared_lab.connect() as conn:
        conn.send(get("Connection: " + value, line="GET /hello HTTP/1.1") + NEXT)
        assert conn.response().body == b"hello\n"
        assert conn.response().body == b"hello\n"


def test_upgrade_is_passed_over(shared_duskd):
    fields = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"),
              ("HTTP2-Settings", "AAMAAABkAAQAAP__")]
    with shared_duskd.connect() as conn:
        conn.send(request("GET", "/", fields) + request("GET", "/healthz"))
        assert conn.response().body == b"hello\n"
        assert conn.response().status == 200
    with shared_duskd.connect() as conn:
        conn.request("POST", "/echo", fields, body="body").request()
        assert conn.response().body == b"body"
        assert conn.response().body == b"hello\n"


def test_curl_http2_works(shared_duskd):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl")
    url = f"http://{shared_duskd.address}"
    run = subprocess.run([curl, "-sS", "--http2", "--max-time", "20",
                          "-d", "body", f"{url}/echo", "--next", "-sS",
                          "--http2", "--max-time", "20", f"{url}/"],
                         capture_output=True, text=True, check=False)
    if "Unsupported" in run.stderr or "doesn't support" in run.stderr:
        pytest.skip("this curl has no HTTP/2")
    assert (run.returncode, run.stdout) == (0, "bodyhello\n"), run.stderr


def test_connect_request_is_answered(shared_duskd):
    """Not supported, but neither an upgrade nor the end of the server."""
    with shared_duskd.connect() as conn:
        conn.send(get(line="CONNECT h:80 HTTP/1.1", host="Host: h:80"))
        assert 400 <= conn.response().status < 600


def test_bytes_after_connection_close_are_no_error(shared_lab):
    for rest in (b"garbage\r\n\r\n", NEXT, b"\0" * 100000):
        with shared_lab.connect() as conn:
            conn.send(request("GET", "/hello", close=True) + rest)
            response = conn.response()
            assert (response.status, response.closes) == (200, True)
            assert conn.end() == "eof"
            assert conn.buffer == b""


def test_srv_111_empty_lines_before_a_request_line(shared_lab):
    """As old clients send after a body."""
    with shared_lab.connect() as conn:
        conn.send(post("Content-Length: 5", body=b"hello") + b"\r\n" + NEXT)
        assert conn.response().body == b"hello"
        assert conn.response().body == b"hello\n"


@pytest.mark.parametrize("rest", [b"g\r\n", b"5\n", b"-1\r\n", b"5\r\nhelloX"])
def test_srv_101_191_bad_chunk_after_a_good_one(shared_duskd, rest):
    """The echo has begun: the answer must not look whole, and nothing that
    follows is a request."""
    with shared_duskd.connect() as conn:
        conn.send(b"POST /echo HTTP/1.1\r\nHost: h\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert conn.head().status == 200
        assert conn.chunk() == b"hello"
        conn.send(rest + b"\r\n0\r\n\r\n" + NEXT)
        conn.end()
        assert b"0\r\n" not in conn.buffer
        assert b"HTTP/" not in conn.buffer


@pytest.mark.parametrize("body", [b"g\r\n", b"5\n", b"0\r\nNothing\r\n\r\n"])
def test_srv_101_bad_body_that_nobody_reads(shared_lab, body):
    """It is answered, and nothing that follows is a request."""
    with shared_lab.connect() as conn:
        conn.send(post(CHUNKED, line="POST /ignore HTTP/1.1") + body + NEXT)
        assert conn.response().body == b"ignored\n"
        assert conn.end() == "eof"
        assert conn.buffer == b""
