"""Guessable names of columns and codes, as many retailers write them."""

from collections.abc import Mapping
from types import MappingProxyType

#: RMIS column -> names that mean it.
NATURAL: Mapping[str, str] = MappingProxyType(
    {
        "ts": "timestamp event_time time datetime occurred_at log_time date_time ts created_at report_time",
        "event_type": "event_type event action interaction event_name type activity",
        "placement_type": "placement_type placement ad_placement ad_type slot_type ad_format product_type slot",
        "device": "device device_type platform client_device",
        "cost_model": "cost_model pricing billing_type buy_type price_model",
        "match_type": "match_type keyword_match match matching",
        "channel": "channel media_channel site_type",
        "campaign_id": "campaign_id campaign cid campaign_key cmp_id camp_id campaign_no",
        "ad_group_id": "ad_group_id adgroup ag_id group_id adgroup_id line_item_id",
        "creative_id": "creative_id creative cr_id ad_id banner_id",
        "keyword_id": "keyword_id kw_id keyword_key",
        "order_id": "order_id order order_no transaction_id",
        "advertiser_id": "advertiser_id advertiser vendor_id supplier_id",
        "product_id": "product_id item_id product item article_id",
        "sku": "sku item_sku product_sku sku_id sku_code",
        "upc": "upc gtin ean barcode",
        "keyword": "keyword kw bid_keyword",
        "search_term": "search_term query search_query term",
        "brand": "brand brand_name product_brand",
        "page_type": "page_type page page_name",
        "currency": "currency currency_code curr",
        "impressions": "impressions imps views_served ad_impressions impr shown_count",
        "viewable_impressions": "viewable_impressions viewable_imps in_view",
        "clicks": "clicks click_count ad_clicks clk total_clicks",
        "add_to_cart": "add_to_cart atc cart_adds",
        "video_views": "video_views vid_views views_video",
        "page_views": "page_views pv pageviews",
        "cost": "cost spend ad_spend media_cost amount_spent charge total_spend",
        "bid": "bid bid_amount max_bid",
        "price": "price unit_price item_price list_price",
        "budget": "budget daily_budget budget_amount",
        "attributed_sales": "attributed_sales sales revenue ad_sales total_sales sales_amount",
        "attributed_units": "attributed_units units units_sold qty_sold ad_units",
        "attributed_conversions": "attributed_conversions conversions orders purchases conv",
        "ntb_sales": "ntb_sales new_to_brand_sales sales_new_customers",
    }
)

#: RMIS column -> RMIS word -> codes whose meaning can be guessed.
NATURAL_CODES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "event_type": {
            "impression": "impression imp view_ad IMPRESSION served show",
            "click": "click clk CLICK ad_click clicked",
            "add_to_cart": "add_to_cart atc ADD_TO_CART cart_add basket",
            "purchase": "purchase order PURCHASE buy sale conversion",
        },
        "placement_type": {
            "sponsored_product": "sponsored_product SP sponsoredProducts sp_ad SPONSORED_PRODUCTS sponsored-ads",
            "sponsored_brand": "sponsored_brand SB sponsoredBrands sb_ad SPONSORED_BRANDS brand_banner",
            "sponsored_display": "sponsored_display SD sponsoredDisplay sd_ad SPONSORED_DISPLAY",
            "onsite_display": "onsite_display ONSITE display_onsite on_site_banner banner_onsite",
            "offsite_display": "offsite_display OFFSITE display_offsite off_site_banner banner_offsite",
            "video": "video VIDEO vid video_ad online_video",
            "audio": "audio AUDIO aud audio_ad",
            "ctv": "ctv CTV connected_tv tv_ad",
            "instore": "instore INSTORE in_store store_screen",
        },
        "device": {
            "desktop": "desktop DESKTOP pc web",
            "mobile": "mobile MOBILE phone smartphone",
            "tablet": "tablet TABLET tab",
            "app": "app APP mobile_app",
        },
        "cost_model": {
            "cpc": "cpc CPC per_click",
            "cpm": "cpm CPM per_mille",
            "cpa": "cpa CPA per_action",
            "flat": "flat FLAT fixed",
        },
        "match_type": {
            "exact": "exact EXACT",
            "phrase": "phrase PHRASE",
            "broad": "broad BROAD",
            "auto": "auto AUTO automatic",
        },
        "channel": {
            "onsite": "onsite ONSITE on_site",
            "offsite": "offsite OFFSITE off_site",
            "instore": "instore INSTORE in_store",
        },
    }
)
