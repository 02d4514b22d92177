"""Hosts and URLs that must never be called; each is the name of a test case."""

from __future__ import annotations


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


#: Hosts as they are written in a URL. They are refused by what is written, without a lookup, unless their network is allowed.
PRIVATE = words("""
    127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 [::] [::1] [0:0:0:0:0:0:0:1] localhost LOCALHOST LocalHost app.localhost
    [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::10.0.0.1] [64:ff9b:1::7f00:1]
    [2002:7f00:1::] [2002:a00:1::1] [2001:0:7f00:1::] [::ffff:169.254.169.254] [64:ff9b::a9fe:a9fe]
    10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.1 100.127.255.255
    198.18.0.1 198.19.255.255 169.254.0.1 192.0.0.1 192.0.2.1 198.51.100.1 203.0.113.1 192.88.99.1
    224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    [fe80::1] [fc00::1] [fd12:3456:789a::1] [fec0::1] [ff02::1] [ff0e::1]
    [2001:db8::1] [3fff::1] [100::1] [4000::1] [5f00::1] [2001:2::1]
""")
#: Where clouds hand out credentials. Never called, whatever is allowed.
CLOUD = words("""
    169.254.169.254 169.254.170.2 168.63.129.16 100.100.100.200 192.0.0.192 [fd00:ec2::254] [fd20:ce::254] [::ffff:a9fe:a9fe]
    metadata.google.internal METADATA.google.internal metadata metadata.goog instance-data
""")
#: What is neither a name nor an address, though some libraries take it for one. Never called.
UNREADABLE = [
    *words("""
    127.1 127.0.1 0x7f000001 0x7f.0.0.1 0x7f.1 2130706433 017700000001 0177.0.0.1 127.0.0.01 0x 0xa9fea9fe 2852039166
    1.2.3 256.1.1.1 1.2.3.4.5 127.0.0.1. localhost. example.com. . .. a..b .example.com -a.example a-.example a,b a;b
    [fe80::1%25lo] [fe80::1%lo] [::1 ::1 [] [1.2.3.4] [::1]x [v1.fe80] [:::1]
    %31%32%37.0.0.1 %6c%6f%63%61%6c%68%6f%73%74 127%2e0%2e0%2e1 localhost%00.example.com
    """),
    *("", " ", "a b", "a" * 64 + ".example", ".".join(["a" * 60] * 5)),
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11",  # full-width digits
    "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",  # circled digits
    "127\u30020\u30020\u30021",  # ideographic full stops
    "\uff4cocalhost",
    "loc\u00adalhost",  # a soft hyphen, which some libraries drop
    "ex\u00e4mple.com",
]
#: Addresses that a name must not have.
RESOLVED = words("""
    127.0.0.1 0.0.0.0 :: ::1 ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: 2001:0:7f00:1::
    10.0.0.1 172.16.0.1 192.168.0.1 100.64.0.1 198.18.0.1 169.254.0.1 224.0.0.1 240.0.0.1 255.255.255.255
    fe80::1 fe80::1%lo fd00::1 ff02::1 169.254.169.254 168.63.129.16 100.100.100.200 fd00:ec2::254
""")
#: URLs whose host two parsers may take for two different ones, or that are no plain request for a path. Never called.
CONFUSING = [
    *words(r"""
    https://user@127.0.0.1/ https://user:pw@example.com/ https://example.com@127.0.0.1/ https://@example.com/ https://:@example.com/
    https://example.com\@127.0.0.1/ https://127.0.0.1\@example.com/ https://example.com#@127.0.0.1/ https://example.com/#part
    https://example.com?@127.0.0.1# https:\\example.com/ https:/example.com/ https:example.com https:///example.com/ //example.com/
    https://example.com:/ https://example.com:+443/ https://example.com:0443/ https://example.com:443:80/ https://example.com:65536/
    https://example.com:0/ https://example.com:-1/ https://example.com:443@127.0.0.1/ https://[::1]:443:1/ https://2606:4700::1/
    https://example.com/<> https://example.com/" ftp://example.com/ file:///etc/passwd gopher://example.com:6379/_x
    unix:///var/run/docker.sock javascript:alert(1) http+unix://x/ data:text/plain,x https https:// http:// example.com
    wss://example.com/ HTTPSS://example.com/
    """),
    *("", "https://exam\tple.com/", "https://example.com\n/", "https://example.com/\r\nHost: x", "\thttps://example.com/"),
    *(" https://example.com/", "https://example.com/ ", "https://example.com/a b", "https://example.com/\x00", "https://example.com/\x7f"),
    *("https://example.com/\u2028", "https://example.com/\u00e4", "https://example.com/\ud800", "https://example.com:\uff14\uff14\uff13/"),
    "https://example.com/" + "a" * 2048,
]
