"""Names of customers and of what they buy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["User", "Server", "Device"]


@dataclass(frozen=True)
class Product:
    """A Sophos product, and what the vendor's own integration calls it in ConnectWise."""

    code: str
    name: str
    group: Group
    price: str
    identifier: str
    older_name: str | None = None


PRODUCTS = (
    Product(
        "CIXA-MSP",
        "Central Intercept X Advanced - MSP",
        "User",
        "2.1000",
        "Sophos_Intercept_X_Advanced",
    ),
    Product(
        "SVRCLOUDADV-MSP",
        "Central Intercept X Advanced for Server - MSP",
        "Server",
        "4.8500",
        "Sophos_Intercept_X_Advanced_Srv",
    ),
    Product(
        "CIXAXDR",
        "Central Intercept X Advanced with XDR",
        "User",
        "3.2500",
        "Sophos_Intercept_X_Advanced_XDR",
    ),
    Product(
        "SVRCIXAXDR",
        "Central Intercept X Advanced for Server with XDR",
        "Server",
        "6.9000",
        "Sophos_Intercept_X_Advanced_XDR_Srv",
    ),
    Product(
        "CIXAMTR-STD-MSP",
        "Central Managed Detection and Response Essentials - MSP",
        "User",
        "4.4000",
        "Sophos_MTR_Standard",
        "Central Intercept X Advanced with XDR and MTR Standard - MSP",
    ),
    Product(
        "CIXAMTR-ADV-MSP",
        "Central Managed Detection and Response Complete - MSP",
        "User",
        "6.7500",
        "Sophos_MTR_Advanced",
        "Central Intercept X Advanced with XDR and MTR Advanced - MSP",
    ),
    Product(
        "SVRCIXAMTR-STD-MSP",
        "Central Managed Detection and Response Essentials for Server - MSP",
        "Server",
        "9.9500",
        "Sophos_MTR_Standard_Srv",
    ),
    Product(
        "SVRCIXAMTR-ADV-MSP",
        "Central Managed Detection and Response Complete for Server - MSP",
        "Server",
        "14.2000",
        "Sophos_MTR_Advanced_Srv",
    ),
    Product("CEMA-MSP", "Central Email Advanced - MSP", "User", "1.6500", "Sophos_Email_Advanced"),
    Product(
        "CEMA-PE-ADDON-MSP",
        "Central Email Portal Encryption Add-On - MSP",
        "User",
        "0.7000",
        "Sophos_Email_Portal_Encryption",
    ),
    Product(
        "CPHISH-MSP",
        "Central Phish Threat - MSP",
        "User",
        "0.9500",
        "Sophos_Central_Phish_Threat",
    ),
    Product(
        "CDE-MSP",
        "Central Device Encryption - MSP",
        "Device",
        "0.8500",
        "Sophos_Device_Encryption",
    ),
    Product("CMA-MSP", "Central Mobile Advanced - MSP", "User", "1.9000", "Sophos_Mobile_Advanced"),
    Product(
        "CMS-MSP",
        "Central Mobile Security - MSP",
        "User",
        "1.1000",
        "Sophos_Mobile_Security",
    ),
    # The identifier is the one a default product gets: it exists before anything is mapped.
    Product(
        "CW7-SUP-MSP",
        "Central Windows 7 Extended Support - MSP",
        "Device",
        "1.3000",
        "Sophos_CW7-SUP-MSP",
    ),
    Product("NDR-MSP", "Network Detection and Response - MSP", "User", "1.4500", "Sophos_NDR"),
)

FIREWALL_PRODUCTS = (
    Product("xg_116_xsp_msp", "XGS 116 Xstream Protection MSP", "Device", "61.0000", ""),
    Product("xg_136_xsp_msp", "XGS 136 Xstream Protection MSP", "Device", "94.5000", ""),
    Product(
        "xg_sw_4c6_xsp_msp",
        "SF SW/Virtual - up to 4 Cores & 6GB RAM Xstream Protection MSP",
        "Device",
        "78.2500",
        "",
    ),
)

ODD_NAMES = (
    'O\'Brien & Sons "Fine" Bakers',
    "<script>alert(1)</script>",
    '=HYPERLINK("http://x")',
    "+1+1",
    "@SUM(A1:A9) Accounting",
    "Café Zoë Müller-Ångström",
    "Αθηναϊκή Ναυτιλιακή Α.Ε.",
    "北京创新科技有限公司",
    "شركة النور للتجارة",
    "Happy Paws 🐾 Vets",
    "The Very Long Named Association of Independent Regional Veterinary Practices",
    "Consolidated International Import, Export, Warehousing, Forwarding and Distribution Company "
    "of the Greater Northern Metropolitan Region, incorporating the Old Harbour Chandlery, "
    "Ropewalk and Sail Loft",
    "Smith; Jones, Lee\\Partners",
    "  Spaced   Out  Studios ",
    "100% Organic_Farms",
)

FIRST_WORDS = (
    "Alder",
    "Beacon",
    "Cedar",
    "Dunmore",
    "Eastgate",
    "Fairview",
    "Granite",
    "Harbour",
    "Ivy",
    "Juniper",
    "Kestrel",
    "Linden",
    "Maple",
    "Northway",
    "Oakfield",
    "Pinecrest",
    "Quayside",
    "Riverside",
    "Summit",
    "Thornbury",
    "Upton",
    "Vale",
    "Westbrook",
    "Yarrow",
    "Zenith",
    "Ashford",
    "Brightwater",
    "Clearview",
    "Driftwood",
    "Elmwood",
    "Foxglove",
    "Greenhill",
    "Hollybank",
    "Ironbridge",
    "Jasmine",
    "Kingsway",
    "Larkspur",
    "Meadow",
    "Newbridge",
    "Orchard",
)

TRADES = (
    "Dental Group",
    "Law",
    "Accounting",
    "Logistics",
    "Architects",
    "Primary School",
    "Manufacturing",
    "Pharmacy",
    "Insurance Brokers",
    "Property Management",
    "Engineering",
    "Physiotherapy",
    "Motors",
    "Food Services",
    "Printing",
    "Travel",
    "Plumbing & Heating",
    "Recruitment",
    "Opticians",
    "Housing Trust",
    "Wealth Advisers",
    "Landscapes",
    "Brewery",
    "Radio",
    "Surveyors",
)

ENDINGS = ("Ltd", "LLC", "Inc", "Group", "Partners")


def extra_product(number: int) -> Product:
    """An invented product, for tests of scale."""
    groups: tuple[Group, ...] = ("User", "Server", "Device")
    return Product(
        code=f"CADDON{number:03}-MSP",
        name=f"Central Add-On {number:03} - MSP",
        group=groups[number % 3],
        price=f"{1 + number % 17}.{(number * 7) % 100:02}00",
        identifier=f"Sophos_Add-On_{number:03}",
    )


def products(count: int) -> tuple[Product, ...]:
    """The first `count` products: the known ones, then invented ones."""
    invented = (extra_product(number) for number in range(1, count - len(PRODUCTS) + 1))
    return (*PRODUCTS[:count], *invented)


def ordinary_name(number: int) -> str:
    """A plain company name; no two numbers below 5,000 share one."""
    first = FIRST_WORDS[number % len(FIRST_WORDS)]
    trade = TRADES[(number // len(FIRST_WORDS) + number * 7) % len(TRADES)]
    round_number = number // (len(FIRST_WORDS) * len(TRADES))
    return f"{first} {trade}" if round_number == 0 else f"{first} {trade} {ENDINGS[round_number]}"


def customer_names(count: int) -> list[str]:
    """Customer names, the odd ones scattered among the plain ones."""
    odd = list(ODD_NAMES)
    names: list[str] = []
    plain = 0
    for index in range(count):
        if index % 4 == 3 and odd:
            names.append(odd.pop(0))
        else:
            names.append(ordinary_name(plain))
            plain += 1
    return names
