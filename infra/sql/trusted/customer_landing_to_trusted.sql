-- customer_trusted: the customers who share their data for research, as their newest record has them.
--
-- Reads    customer_landing (every record delivered so far, also of objects replaced since)
-- Writes   customer_trusted
--
-- A customer is one e-mail, however it is written: lower case, no spaces around. Of their records
-- the newest counts: the highest lastupdatedate, or registrationdate where that is absent. Among
-- records of one time, one without research consent comes first, since privacy wins; after that
-- the columns decide, ascending and in order, so that the outcome does not depend on the order of
-- delivery. Consent is not a policy here: as-of and any differ in the readings only.
create or replace table customer_trusted as
select
    customername,
    email,
    phone,
    birthday,
    serialnumber,
    registrationdate,
    lastupdatedate,
    sharewithresearchasofdate,
    sharewithpublicasofdate,
    sharewithfriendsasofdate
from (
    select
        *,
        row_number() over (
            partition by lower(trim(both ' ' from email))
            order by
                coalesce(lastupdatedate, registrationdate) desc nulls last,
                case when sharewithresearchasofdate is null then 0 else 1 end,
                customername asc nulls first,
                email asc nulls first,
                phone asc nulls first,
                birthday asc nulls first,
                serialnumber asc nulls first,
                registrationdate asc nulls first,
                lastupdatedate asc nulls first,
                sharewithresearchasofdate asc nulls first,
                sharewithpublicasofdate asc nulls first,
                sharewithfriendsasofdate asc nulls first
        ) as newest
    from customer_landing
) as records
where newest = 1
  and sharewithresearchasofdate is not null;
