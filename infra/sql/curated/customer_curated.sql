-- customer_curated: the trusted customers who have trusted accelerometer readings.
--
-- Reads    customer_trusted, accelerometer_trusted
-- Writes   customer_curated
--
-- Under policy.consent = 'as-of' a customer all of whose readings are from before the consent has
-- no trusted reading, and so is not in this table.
create or replace table customer_curated as
select
    c.customername,
    c.email,
    c.phone,
    c.birthday,
    c.serialnumber,
    c.registrationdate,
    c.lastupdatedate,
    c.sharewithresearchasofdate,
    c.sharewithpublicasofdate,
    c.sharewithfriendsasofdate
from customer_trusted as c
where exists (
    select 1
    from accelerometer_trusted as a
    where lower(trim(both ' ' from a."user")) = lower(trim(both ' ' from c.email))
);
