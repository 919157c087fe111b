-- What the accounts hold now, x86 against ARM: one row per processor and architecture as told, all accounts together.
-- Images that the account owns; those shared with it, and those of another owner or none told, stand apart.
-- The processor follows from the architecture; where none is told, from the compute type, which says ARM but not x86.
-- Reads: capacity_items.
-- Example: select processor, sum(image_size_gib) as image_size_gib from capacity_by_architecture group by processor

select
    processor,
    architecture,
    count(distinct account) as account_count,  -- Accounts with such an image.
    cast(sum(image_count) as bigint) as image_count,
    cast(sum(image_size_gib) as bigint) as image_size_gib,
    cast(sum(unsized_image_count) as bigint) as unsized_image_count,
    cast(sum(disk_count) as bigint) as disk_count,
    cast(sum(disk_size_gib) as bigint) as disk_size_gib,
    cast(sum(shared_image_count) as bigint) as shared_image_count,
    cast(sum(shared_image_size_gib) as bigint) as shared_image_size_gib,
    cast(sum(other_image_count) as bigint) as other_image_count
from capacity_items
group by
    processor,
    architecture
order by
    image_size_gib desc,
    processor,
    architecture nulls last
