"""The fields of each record: their kinds, limits, and which the server computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["int", "number", "text", "flag", "date", "reference", "list"]


@dataclass(frozen=True)
class Field:
    """What a field may hold."""

    kind: Kind
    max_length: int | None = None
    choices: tuple[str, ...] = ()
    computed: bool = False
    required: bool = False


def _all(kind: Kind, names: str, *, computed: bool = False) -> dict[str, Field]:
    return {name: Field(kind, computed=computed) for name in names.split()}


INT, NUMBER, TEXT, FLAG = Field("int"), Field("number"), Field("text"), Field("flag")
ID = Field("int", computed=True)
INFO = Field("reference", computed=True)
STATUSES = ("Active", "Cancelled", "Expired", "Inactive")
CYCLES = ("ContractYear", "CalendarYear")
BILLABLE = ("Billable", "DoNotBill", "NoCharge")

ADDITION: dict[str, Field] = {
    "id": ID,
    "product": Field("reference", required=True),
    "billCustomer": Field("text", choices=BILLABLE, required=True),
    **_all("number", "quantity lessIncluded unitPrice unitCost sequenceNumber"),
    **_all("date", "effectiveDate cancelledDate"),
    **_all("flag", "taxableFlag purchaseItemFlag specialOrderFlag prorateCurrentPeriodFlag"),
    "serialNumber": Field("text", 50),
    "invoiceDescription": Field("text", 6000),
    "description": TEXT,
    **_all("reference", "opportunity invoiceGrouping"),
    "agreementId": ID,
    **_all(
        "number",
        "billedQuantity extPrice extCost margin prorateCost proratePrice extendedProrateCost "
        "extendedProratePrice",
        computed=True,
    ),
    "uom": Field("text", computed=True),
    "agreementStatus": Field("text", choices=STATUSES, computed=True),
    "customFields": Field("list"),
    "_info": INFO,
}

CATALOG: dict[str, Field] = {
    "id": ID,
    "identifier": Field("text", 75, required=True),
    "description": Field("text", 60, required=True),
    "subcategory": Field("reference", required=True),
    "type": Field("reference", required=True),
    "customerDescription": Field("text", 6000, required=True),
    "productClass": Field(
        "text", choices=("Agreement", "Bundle", "Inventory", "NonInventory", "Service")
    ),
    "priceAttribute": Field(
        "text", choices=("FixedFee", "NotToExceed", "OverrideRate", "TimeAndMaterials")
    ),
    "recurringCycleType": Field("text", choices=CYCLES),
    "billableOption": Field("text", choices=(*BILLABLE, "NoDefault")),
    **_all("number", "price cost recurringRevenue recurringCost markupPercentage"),
    "minStockLevel": INT,
    **_all(
        "flag",
        "inactiveFlag serializedFlag serializedCostFlag phaseProductFlag taxableFlag "
        "dropShipFlag specialOrderFlag recurringFlag recurringOneTimeFlag calculatedPriceFlag "
        "calculatedCostFlag markupFlag autoUpdateUnitCostFlag autoUpdateUnitPriceFlag",
    ),
    **_all(
        "reference",
        "category unitOfMeasure manufacturer vendor sla entityType recurringBillCycle "
        "agreementType",
    ),
    "manufacturerPartNumber": Field("text", 50),
    "vendorSku": Field("text", 50),
    "integrationXRef": Field("text", 50),
    "notes": TEXT,
    "connectWiseID": Field("text", computed=True),
    **_all("number", "calculatedPrice calculatedCost", computed=True),
    "customFields": Field("list"),
    "_info": INFO,
}

AGREEMENT: dict[str, Field] = {
    "id": ID,
    **_all(
        "text",
        "name customerPO reasonCancelled workOrder internalNotes applicationUnits "
        "applicationCycle employeeCompRate employeeCompNotExceed invoicingCycle "
        "invoiceDescription billTime billExpenses billProducts periodType agreementStatus",
    ),
    **_all("date", "startDate endDate dateCancelled billStartDate nextInvoiceDate"),
    **_all(
        "flag",
        "noEndingDateFlag cancelledFlag applicationUnlimitedFlag oneTimeFlag "
        "coverAgreementTime coverAgreementProduct coverAgreementExpense taxable prorateFlag "
        "invoiceProratedAdditionsFlag autoInvoiceFlag billZeroAmountFlag",
    ),
    **_all("number", "applicationLimit billAmount prorateFirstBill"),
    **_all(
        "reference",
        "type company contact site parentAgreement location department sla billingCycle "
        "billingTerms billToCompany taxCode currency",
    ),
    "customFields": Field("list"),
    "_info": INFO,
}

COMPANY: dict[str, Field] = {
    "id": ID,
    **_all(
        "text",
        "identifier name addressLine1 addressLine2 city state zip phoneNumber faxNumber website "
        "accountNumber deletedBy vendorIdentifier taxIdentifier",
    ),
    **_all("reference", "status country territory defaultContact parentCompany site currency"),
    **_all("date", "dateAcquired dateDeleted"),
    **_all("flag", "deletedFlag leadFlag isVendorFlag"),
    **_all("list", "types integratorTags customFields"),
    "_info": INFO,
}

CATEGORY: dict[str, Field] = {
    "id": ID,
    **_all("text", "name integrationXref"),
    **_all("flag", "inactiveFlag defaultFlag"),
    "_info": INFO,
}
SUBCATEGORY: dict[str, Field] = {**CATEGORY, "category": Field("reference")}
PRODUCT_TYPE: dict[str, Field] = {**CATEGORY, "typeXref": TEXT}
UNIT: dict[str, Field] = {**CATEGORY, "uomScheduleXref": TEXT}
