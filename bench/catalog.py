"""A large provider's ConnectWise catalog and Sophos products, invented, and what people type."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping

ITEMS = 100_000
FIRST_ID = 1_000_000

_MAKERS = {
    "Sophos": (
        "Intercept X Advanced|Intercept X Advanced with XDR|Central Email Advanced|MDR Complete|"
        "MDR Essentials|Device Encryption|Phish Threat|Mobile Advanced|ZTNA|Cloud Optix|Wireless|"
        "Firewall XGS 87|Firewall XGS 108|Firewall XGS 2100|Switch CS110-24|Access Point AP6 420"
    ),
    "Microsoft": (
        "365 Business Premium|365 Business Standard|365 E3|365 E5|Exchange Online Plan 1|"
        "Windows Server 2025 Datacenter|SQL Server Standard|Defender for Business|Teams Phone|"
        "Azure Backup|Power BI Pro|Visio Plan 2|Entra ID P2|Intune Suite|Copilot"
    ),
    "Cisco": "Catalyst 9200L|Catalyst 9300|Meraki MX68|Meraki MR46|Duo Advantage|Umbrella DNS",
    "HPE": "ProLiant DL380 Gen11|ProLiant ML30|Aruba Instant On AP22|MSA 2060 Storage|MicroServer",
    "Dell": "PowerEdge R660|Latitude 5550|OptiPlex 7020|PowerVault ME5|UltraSharp U2724D|Pro Dock",
    "Lenovo": "ThinkPad T14 Gen 5|ThinkCentre neo 50q|ThinkSystem SR650|ThinkVision T27h",
    "Veeam": "Backup & Replication|Data Cloud Vault|Backup for Microsoft 365|Availability Suite",
    "Acronis": "Cyber Protect Cloud|Disaster Recovery|Advanced Email Security|File Sync & Share",
    "Fortinet": "FortiGate 60F|FortiGate 100F|FortiAP 231G|FortiSwitch 124F|FortiClient EMS",
    "Ubiquiti": "UniFi U7 Pro|UniFi Switch Pro 24|Dream Machine SE|UniFi Protect G5 Bullet",
    "APC": "Smart-UPS 1500VA|Back-UPS 700|NetShelter SX 42U|Rack PDU Switched",
    "Adobe": "Creative Cloud All Apps|Acrobat Pro|Acrobat Standard|Photoshop|Sign Business",
    "Kingston": "Server Premier DDR5 32GB|DC600M SSD 960GB|FURY Beast 16GB|IronKey D500S 64GB",
    "Digitus": "Patch Cable CAT6A|Fibre Optic Cable OM4|Wall Rack 12U|HDMI Adapter|Keystone Jack",
    "Services": (
        "Onsite Technician Hour|Remote Support Hour|Managed Workstation|Managed Server|"
        "Project Management Day|Network Assessment|Onboarding|Out of Hours Surcharge"
    ),
}
_FAMILIES = [(maker, name) for maker, names in _MAKERS.items() for name in names.split("|")]
_TERMS = ("1 month", "12 months", "36 months", "60 months", "subscription", "perpetual")
_KINDS = (
    "licence",
    "renewal",
    "support next business day",
    "maintenance",
    "upgrade",
    "bundle part",
    "hardware only",
    "spare part",
    "refurbished",
    "academic",
    "government",
    "trade-in",
)
_BANDS = ("1-9 users", "10-24 users", "25-49 users", "50-99 users", "100-199 users", "per device")
_COLOURS = ("black", "white", "grey", "blue", "3 m", "5 m", "rack mount", "with power supply")


def items(count: int = ITEMS) -> Iterator[tuple[int, str, str]]:
    """(record id, identifier, description), the same ones every time, no identifier twice."""
    dice, used = random.Random(1), set[str]()
    for number in range(FIRST_ID, FIRST_ID + count):
        maker, name = dice.choice(_FAMILIES)
        extra = [dice.choice(_KINDS), dice.choice(dice.choice((_TERMS, _BANDS, _COLOURS)))]
        short = "".join(word[:3] for word in name.replace("&", "").split()[:3])
        identifier = f"{maker[:4]}-{short}-{dice.randrange(100_000):05}".upper()
        if dice.random() < 0.3:
            identifier = f"{maker}_{name}_{extra[1]}".replace(" ", "_")[:60]
        if identifier in used:
            identifier = f"{identifier}-{number}"
        used.add(identifier)
        yield number, identifier, f"{maker} {name}, {', '.join(extra)}"


def products(count: int) -> Iterator[tuple[str, str]]:
    """(code, name) of Sophos products, as they are billed: by family, number of users and term."""
    names = _MAKERS["Sophos"].split("|")
    terms = ("1 MOS", "12 MOS", "24 MOS", "36 MOS", "60 MOS", "1 MOS - EDU")
    everything = itertools.product(names, _BANDS, terms)
    for number, (name, band, term) in enumerate(itertools.islice(everything, count)):
        code = "".join(word[0] for word in name.split()) + f"{number:03}"
        yield f"{code.upper()}-MSP", f"{name} - {band.upper()} - {term}"


def queries(texts: list[str]) -> Iterator[tuple[str, str]]:
    """(kind, text) as people type it, in turn of each kind; no text comes twice.

    Half of what is typed is two characters or a beginning, because each pause of a person asks.
    """
    dice, used = random.Random(2), set[str]()
    for kind in itertools.cycle(_TYPED):
        for _ in range(50):
            text = _TYPED[kind](dice, dice.choice(texts))
            if len(text) > 1 and text not in used:
                used.add(text)
                yield kind, text
                break


def _two(dice: random.Random, text: str) -> str:
    word = dice.choice(text.split())
    start = dice.choice((0, 0, dice.randrange(len(word))))
    return word[start : start + 2].lower()


def _beginning(dice: random.Random, text: str) -> str:
    return text.split("\t", maxsplit=1)[0][: dice.randrange(3, 14)].lower()


def _word(dice: random.Random, text: str) -> str:
    word = dice.choice(text.split("\t")[1].split())
    return word[: dice.randrange(3, 12)].lower().strip(",")


def _words(dice: random.Random, text: str) -> str:
    words = text.split("\t")[1].replace(",", "").split()
    return " ".join(dice.sample(words, k=min(len(words), dice.choice((2, 2, 3, 4)))))


def _slip(dice: random.Random, text: str) -> str:
    """Two or three words with a letter too few or two letters in the wrong order."""
    words = [word for word in text.split("\t")[1].replace(",", "").split() if len(word) > 4]
    chosen = dice.sample(words, k=min(len(words), dice.choice((1, 2, 3))))
    at = dice.randrange(1, 4)
    first = chosen[0] if chosen else "sophos"
    swapped = first[:at] + first[at + 1] + first[at] + first[at + 2 :]
    return " ".join([dice.choice((swapped, first[:at] + first[at + 1 :])), *chosen[1:]]).lower()


def _nothing(dice: random.Random, _text: str) -> str:
    return "".join(dice.choices("qxzjkvwy", k=dice.randrange(5, 12)))


_TYPED: Mapping[str, Callable[[random.Random, str], str]] = {
    "two characters": _two,
    "the beginning of an identifier": _beginning,
    "a word": _word,
    "several words": _words,
    "a slip": _slip,
    "nothing found": _nothing,
}
