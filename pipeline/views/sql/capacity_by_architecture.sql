-- Latest capacity by processor, x86 or ARM: one row per processor and architecture (as listed), summed over all accounts.
-- The image columns count owned images. Shared images, and images of another or an unknown owner, are counted separately.
-- The processor is derived from the architecture; without one, from the compute type, which identifies ARM but not x86.
-- Reads: capacity_items.
-- Example: select processor, sum(image_size_gib) as image_size_gib from capacity_by_architecture group by processor

select
    processor,
    architecture,
    count(distinct account) as account_count,  -- Accounts with at least one image of this architecture.
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
