"""Running unattended: slots, notices, second factors, tokens of the API, comparisons; long texts.

Revision 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Vendors' texts, and names made of several: nobody promises how long they are.
TEXTS = {
    "catalog_items": {"identifier": 120, "product_class": 40},
    "companies": {"identifier": 160, "status": 80},
    "agreements": {"status": 80},
    "directory_refreshes": {"actor": 150},
    "product_mappings": {"product_group": 40, "catalog_item_identifier": 120},
    "tenant_mappings": {"billing_type": 20, "status": 20, "company_identifier": 160},
    "staged_edits": {"catalog_item_identifier": 120},
    "sync_runs": {"actor": 150},
    "changes": {"new_identifier": 120, "group": 120, "approved_by": 150},
    "usage_lines": {"serial": 120, "order": 120, "currency": 8},
    "audit_events": {"actor": 150},
}
# Nothing is found by them, and an index of PostgreSQL takes 2,700 bytes at most.
INDEXES = {"ix_catalog_items_identifier": "catalog_items", "ix_companies_identifier": "companies"}


def upgrade() -> None:
    op.create_table(
        "notification_targets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("sealed_url", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("last_sent_at", sa.DateTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification_targets")),
        sa.UniqueConstraint("name", name=op.f("uq_notification_targets_name")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("last_used_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_api_tokens_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_tokens_token_hash")),
    )
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_tokens_user_id"), ["user_id"], unique=False)

    op.create_table(
        "recovery_codes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_recovery_codes_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_codes")),
    )
    with op.batch_alter_table("recovery_codes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_recovery_codes_user_id"), ["user_id"], unique=False)

    op.create_table(
        "notices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("sent_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["sync_runs.id"], name=op.f("fk_notices_run_id_sync_runs")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("key", name=op.f("uq_notices_key")),
    )
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_notices_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_notices_sent_at"), ["sent_at"], unique=False)

    op.create_table(
        "scheduled_slots",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.DateTime(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["sync_runs.id"], name=op.f("fk_scheduled_slots_run_id_sync_runs")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduled_slots")),
        sa.UniqueConstraint("key", name=op.f("uq_scheduled_slots_key")),
    )
    with op.batch_alter_table("scheduled_slots", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_scheduled_slots_due_at"), ["due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_scheduled_slots_state"), ["state"], unique=False)

    op.create_table(
        "comparisons",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("read_at", sa.DateTime(), nullable=False),
        sa.Column("audited", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["sync_runs.id"], name=op.f("fk_comparisons_run_id_sync_runs")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_comparisons")),
        sa.UniqueConstraint("month", name=op.f("uq_comparisons_month")),
    )
    op.create_table(
        "compared_rows",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["comparisons.run_id"], name=op.f("fk_compared_rows_run_id_comparisons")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_compared_rows")),
    )
    with op.batch_alter_table("compared_rows", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_compared_rows_run_id"), ["run_id"], unique=False)

    with op.batch_alter_table("login_sessions", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("awaits_code", sa.Boolean(), server_default=sa.false(), nullable=False)
        )

    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.add_column(sa.Column("subject", sa.String(length=255), nullable=True))
        batch_op.add_column(sa.Column("totp_secret", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("totp_since", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("totp_last_step", sa.BigInteger(), nullable=True))
        batch_op.create_index("ix_users_subject", ["subject"], unique=True)

    with op.batch_alter_table("markers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("note", sa.Text(), nullable=True))

    for index, table in INDEXES.items():
        op.drop_index(index, table_name=table)
    # SQLite keeps texts of any length already; it would have to write every table anew.
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in TEXTS.items():
            for column, length in columns.items():
                op.alter_column(
                    table, column, type_=sa.Text(), existing_type=sa.String(length=length)
                )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in TEXTS.items():
            for column, length in columns.items():
                op.alter_column(
                    table, column, type_=sa.String(length=length), existing_type=sa.Text()
                )
    for index, table in INDEXES.items():
        op.create_index(index, table, ["identifier"])

    with op.batch_alter_table("markers", schema=None) as batch_op:
        batch_op.drop_column("note")

    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.drop_index("ix_users_subject")
        batch_op.drop_column("totp_last_step")
        batch_op.drop_column("totp_since")
        batch_op.drop_column("totp_secret")
        batch_op.drop_column("subject")

    with op.batch_alter_table("login_sessions", schema=None) as batch_op:
        batch_op.drop_column("awaits_code")

    with op.batch_alter_table("compared_rows", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_compared_rows_run_id"))

    op.drop_table("compared_rows")
    op.drop_table("comparisons")
    with op.batch_alter_table("scheduled_slots", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_scheduled_slots_state"))
        batch_op.drop_index(batch_op.f("ix_scheduled_slots_due_at"))

    op.drop_table("scheduled_slots")
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_notices_sent_at"))
        batch_op.drop_index(batch_op.f("ix_notices_at"))

    op.drop_table("notices")
    with op.batch_alter_table("recovery_codes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_recovery_codes_user_id"))

    op.drop_table("recovery_codes")
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_api_tokens_user_id"))

    op.drop_table("api_tokens")
    op.drop_table("notification_targets")
